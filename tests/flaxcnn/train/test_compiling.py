"""Compiled programs: where they are kept, that another process finds them, and that each is compiled once."""

import collections
import contextlib
import importlib.abc
import math
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from flaxcnn.ops.cpu import onednn
from flaxcnn.train import run
from flaxcnn.train.compiling import Compiled, cache_home, trim, use_compilation_cache
from flaxcnn.train.events import EventWriter

SETTINGS = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE", "XDG_CACHE_HOME")


def filled(folder, count):
    for number in range(count):
        path = folder / f"program{number}"
        path.write_bytes(bytes(100))
        os.utime(path, (number, number))


def test_a_folder_above_its_limit_loses_its_oldest_files_until_it_is_half_full(tmp_path):
    filled(tmp_path, 10)
    trim(tmp_path, 999)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"program{n}" for n in range(6, 10)]


def test_a_folder_below_its_limit_or_none_at_all_is_left_alone(tmp_path):
    filled(tmp_path, 10)
    trim(tmp_path, 1000)
    assert len(list(tmp_path.iterdir())) == 10
    trim(tmp_path / "nothing", 10)


def test_a_user_without_a_home_trains_without_kept_programs(monkeypatch):
    """Neither HOME nor an entry of the user, as in some containers: `Path.home` raises."""

    def homeless(path="~"):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", homeless)
    monkeypatch.setattr("flaxcnn.train.compiling.jax", SimpleNamespace(config=NoFolder()))
    use_compilation_cache()
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_home() == Path("/somewhere")


class NoFolder:
    """JAX's settings where none names a folder; to set one would be a fault here."""

    jax_compilation_cache_dir = None


def in_a_process(code, **environment):
    """What a fresh process prints, which has of our settings of the cache only these."""
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=inherited | {name: str(value) for name, value in environment.items()},
    )
    assert done.returncode == 0, done.stderr
    assert "persistent compilation cache" not in done.stderr, done.stderr
    return done.stdout.split()


FOLDER = """
import jax
from flaxcnn.train.compiling import use_compilation_cache
use_compilation_cache()
print(jax.config.jax_compilation_cache_dir, jax.config.jax_enable_compilation_cache)
"""


@pytest.mark.slow
def test_programs_are_kept_in_the_users_cache_folder_unless_another_is_named(tmp_path):
    home = in_a_process(FOLDER, HOME=tmp_path)
    assert home == [str(tmp_path / ".cache" / "flaxcnn" / "programs"), "True"]
    named = in_a_process(FOLDER, HOME=tmp_path, XDG_CACHE_HOME=tmp_path / "xdg")
    assert named == [str(tmp_path / "xdg" / "flaxcnn" / "programs"), "True"]
    settings = {"JAX_COMPILATION_CACHE_DIR": tmp_path / "jax", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    assert in_a_process(FOLDER, HOME=tmp_path, **settings) == [str(tmp_path / "jax"), "False"]


TRAIN = """
import logging, re, sys

class Hits(logging.Handler):
    def emit(self, record):
        found.extend(re.findall(r"cache hit for '(?:jit_)?(\\w+)'", record.getMessage()))

found = []
logger = logging.getLogger("jax._src.compiler")
logger.setLevel(logging.DEBUG)
logger.addHandler(Hits())
logger.propagate = False
from flaxcnn.cli import main
flags = ["--model", "cnn", "--model-option", "channels=[4,4]", "--epochs", "1", "--batch-size", "256"]
assert main(["train", *flags, "--no-pictures", "--out", OUT]) == 0
print()
print("hits", *found)
"""


@pytest.mark.slow
def test_a_second_run_finds_the_programs_of_the_first(tmp_path):
    """The command as it is: `train_step` and `predict` are written by one process and read by another."""

    def hits(name):
        code = TRAIN.replace("OUT", repr(str(tmp_path / name)))
        words = in_a_process(code, XDG_CACHE_HOME=tmp_path / "cache")
        return words[words.index("hits") + 1 :]

    assert not {"train_step", "predict"} & set(hits("first"))
    programs = [path.name for path in (tmp_path / "cache" / "flaxcnn" / "programs").glob("*-cache")]
    for function in ("train_step", "predict"):
        assert sum(function in name for name in programs) == 1, programs
    assert {"train_step", "predict"} <= set(hits("second"))


@contextlib.contextmanager
def compilations():
    """How often every function is compiled in this block, by JAX's own account."""
    counts = collections.Counter()

    def listen(event, seconds, **tags):
        if event == "/jax/core/compile/backend_compile_duration":
            counts[re.sub(r"^jit[_(]|\)$", "", tags["fun_name"])] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield counts
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_a_run_and_a_resumed_run_compile_each_function_once(config, tmp_path):
    """Though the last batch of every epoch is short, and so are validation and test split."""
    config = config.replace(schedule="constant")
    with compilations() as counts:
        summary = run.train(config)
    assert (counts["train_step"], counts["predict"]) == (1, 1)
    assert (summary["compilations"], summary["evaluation_compilations"]) == (1, 1)
    # As if it had been stopped: the same folder with another epoch to go.
    (tmp_path / "run" / "config.json").write_text(config.replace(epochs=3).to_json())
    (tmp_path / "run" / "summary.json").unlink()
    with compilations() as counts:
        summary = run.resume(tmp_path / "run")
    assert summary["steps"] == 15
    assert (counts["train_step"], counts["predict"]) == (1, 1)
    assert (summary["compilations"], summary["evaluation_compilations"]) == (1, 1)


CONVOLUTIONS = """
import os, jax, jax.numpy as jnp
from flaxcnn.ops import conv2d
from flaxcnn.ops.cpu import onednn, onednn_support
from flaxcnn.ops.cpu.choice import RULES
from flaxcnn.train.compiling import Compiled, use_compilation_cache
use_compilation_cache()
kept = jax.config.jax_compilation_cache_dir
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

def large(x, kernel): return conv2d(x, kernel, padding=1)
def small(x, kernel): return conv2d(x, kernel, padding=1)

kernel = jnp.ones((3, 3, 64, 32))
for function, images in ((large, 8), (small, 1)):
    compiled, x = Compiled(function, rules=RULES), jnp.ones((images, 32, 32, 64))
    for _ in range(2):
        compiled(x, kernel).block_until_ready()
    print(compiled.compilations)
    print(onednn.PREFIX in compiled.compiled_text(x, kernel))
print(onednn_support.is_available(), jax.config.jax_persistent_cache_min_compile_time_secs)
print(*(name for name in os.listdir(kept) if "large" in name or "small" in name))
"""


@pytest.mark.slow
def test_what_calls_onednn_is_compiled_once_and_not_stored_and_the_rest_is_stored(tmp_path):
    """The training step takes these calls though the command's compilation cache is on."""
    words = in_a_process(CONVOLUTIONS, XDG_CACHE_HOME=tmp_path)
    compilations, large, once_more, small, available, seconds, *stored = words
    assert (compilations, once_more, seconds) == ("1", "1", "0"), words
    assert (large, small) == (available, "False"), words
    kept = {name.split("-")[0] for name in stored}
    assert kept == {"jit_small"} | (set() if available == "True" else {"jit_large"}), words


@pytest.mark.parametrize(
    ("backend", "precision", "expected"),
    [
        ("gpu", "float32", "float32"),
        ("gpu", "tensorfloat32", "tensorfloat32"),
        ("gpu", "bfloat16", None),
        ("cpu", "tensorfloat32", None),
    ],
)
def test_products_have_the_precision_of_the_run_and_the_process_keeps_its_own(
    backend, precision, expected, monkeypatch
):
    """JAX traces the backward rule after the forward pass, so a scope around the model alone would miss it."""
    monkeypatch.setattr("jax.default_backend", lambda: backend)
    seen = {}

    @jax.custom_vjp
    def squared(x):
        seen["forward"] = jax.config.jax_default_matmul_precision
        return x @ x

    def forward(x):
        return squared(x), x

    def backward(x, cotangent):
        seen["backward"] = jax.config.jax_default_matmul_precision
        return (cotangent @ x.T + x.T @ cotangent,)

    squared.defvjp(forward, backward)
    Compiled(jax.grad(lambda x: jnp.sum(squared(x))), precision=precision)(jnp.eye(2))
    assert seen == {"forward": expected, "backward": expected}
    assert jax.config.jax_default_matmul_precision is None


def test_tensorboard_is_written_without_hiding_torch_from_other_imports(tmp_path, monkeypatch):
    """A thread that imported PyTorch while it was hidden found none."""
    for name in ("tensorboardX", "tensorboardX.event_file_writer"):  # an earlier test may have imported it
        monkeypatch.delitem(sys.modules, name, raising=False)
    seen = []

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.startswith("tensorboardX"):
                seen.append("torch" in sys.modules and sys.modules["torch"] is None)

    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with EventWriter(tmp_path, enabled=True, purge=None) as events:
        events.write({"epoch": 1, "step": 3, "train_loss": 0.5})
    assert seen
    assert not any(seen)
    assert list((tmp_path / "events").iterdir())


def test_the_cache_is_off_until_the_last_thread_has_left_and_then_as_before():
    """Two threads that each restore what they found could leave the cache off for good."""
    setting = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, setting)
    inside, may_leave = threading.Event(), threading.Event()

    def other():
        with onednn.never_stored():
            inside.set()
            may_leave.wait(30)

    thread = threading.Thread(target=other)
    with onednn.never_stored():
        thread.start()
        assert inside.wait(30)
    assert getattr(jax.config, setting) == math.inf
    may_leave.set()
    thread.join()
    assert getattr(jax.config, setting) == before
    with pytest.raises(ValueError, match="stop"), onednn.never_stored():
        raise ValueError("stop")
    assert getattr(jax.config, setting) == before
