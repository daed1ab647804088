"""Compilation: once for each function of a run, counted, with the options that suit the platform."""

import contextlib
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from flaxcnn.ops.cpu import choice, onednn

# XLA's YNNPACK fusions make convolutions on the CPU 1.6 to 3.3 times slower than without (issue 6 measures it).
_CPU_OPTIONS: dict[str, str] = {"xla_cpu_experimental_ynn_fusion_type": ""}


@functools.cache
def compiler_options(platform: str | None = None) -> dict[str, str]:
    """XLA options for `platform` (the default backend's if not given); empty where XLA knows none of them."""
    if (platform or jax.default_backend()) != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=_CPU_OPTIONS).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        # A jaxlib without this option: its default is what there is.
        return {}
    return _CPU_OPTIONS


# JAX's names for the precisions of the configuration. With None it takes TF32 on NVIDIA GPUs and bfloat16 on TPUs.
PRODUCTS: dict[str, str | None] = {
    "float32": "float32",
    "tensorfloat32": "tensorfloat32",
    "bfloat16": None,
}


def products_in(precision: str) -> contextlib.AbstractContextManager[None]:
    """Trace products of float32 numbers in a precision of `PRODUCTS` inside; a CPU has only one, and is left alone."""
    if jax.default_backend() == "cpu":
        return contextlib.nullcontext()
    return jax.default_matmul_precision(PRODUCTS[precision])


# Programs are small, some 20 KiB; this many bytes are thousands of them.
_CACHE_LIMIT = 2**32


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that a second run starts at once.

    The command calls it; a program that imports the library decides for itself. `JAX_COMPILATION_CACHE_DIR` names
    another folder, and `JAX_ENABLE_COMPILATION_CACHE=false` turns it off. JAX's own limit of size is not used: with
    it, every new program reads a file of every old one, and a killed process leaves a folder that cannot be written.
    """
    if jax.config.jax_compilation_cache_dir is None:
        if (home := cache_home()) is None:
            return
        folder = home / "flaxcnn" / "programs"
        trim(folder, _CACHE_LIMIT)
        jax.config.update("jax_compilation_cache_dir", str(folder))
    # The many small programs of an initialisation take 0.1 s each and minutes in all.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)


def cache_home() -> Path | None:
    """The user's cache folder; `None` for a user without a home, as in some containers."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return None


def trim(folder: Path, limit: int) -> None:
    """Delete the oldest files of a folder until half of `limit` bytes is left, if there are more than `limit`.

    A file that another process deletes meanwhile, or a folder that is not there, is nothing to worry about.
    """
    with contextlib.suppress(OSError):
        found = [(entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in os.scandir(folder)]
        total = sum(size for _, size, _ in found)
        if total <= limit:
            return
        for _, size, path in sorted(found):
            if total <= limit // 2:
                break
            with contextlib.suppress(OSError):
                os.remove(path)
            total -= size


class Compiled:
    """A jit-compiled function that counts how often it was traced, which is how often it was compiled.

    `compilations` is that number, `compile_seconds` the time it took.

    Args:
        function: a pure function of arrays.
        donate: positions of the arguments whose buffers it may reuse; the caller must not touch them again.
        rules: of `flaxcnn.ops.cpu.choice.RULES`, those that its convolutions may use where the function itself does
            not choose. All of them suit a program that runs for long: if it is large, every process compiles it anew.
        precision: of products of float32 numbers on accelerators, a key of `PRODUCTS`. It holds while this function is
            traced, its backward pass included, and for nothing else in the process.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        donate: tuple[int, ...] = (),
        rules: tuple[str, ...] = choice.USUAL,
        precision: str = "float32",
    ) -> None:
        self.compilations = 0
        self.compile_seconds = 0.0
        # Only on the CPU there is something to be found out before the first call.
        self._may_call_onednn = "onednn" in rules and jax.default_backend() == "cpu"

        @functools.wraps(function)
        def counted(*arguments: Any) -> Any:
            self.compilations += 1
            with choice.allowing(choice.Allowed(frozenset(rules))), products_in(precision):
                return function(*arguments)

        self._jitted = jax.jit(counted, donate_argnums=donate, compiler_options=compiler_options())

    def __call__(self, *arguments: Any) -> Any:
        """Run the function, compiling it on its first call."""
        before, start = self.compilations, time.perf_counter()
        first = before == 0 and self._may_call_onednn
        result = self._called_first(*arguments) if first else self._jitted(*arguments)
        if self.compilations > before:
            # Tracing and compiling hold the call up; the run itself is dispatched and returns at once.
            self.compile_seconds += time.perf_counter() - start
        return result

    def _called_first(self, *arguments: Any) -> Any:
        """Compile and run; what has calls of oneDNN in it cannot be stored, and what has none shall be."""
        with onednn.never_stored():
            if onednn.PREFIX in self._jitted.lower(*arguments).as_text():
                return self._jitted(*arguments)
        return self._jitted(*arguments)

    def compiled_text(self, *arguments: Any) -> str:
        """The compiled program for such arguments, as HLO; nothing is run, and nothing counted."""
        before = self.compilations
        with onednn.never_stored() if self._may_call_onednn else contextlib.nullcontext():
            text = self._jitted.lower(*arguments).compile().as_text()
        self.compilations = before
        return text
