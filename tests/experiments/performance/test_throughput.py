"""The benchmark: its workloads, its turns, and that all sides compute the same network."""

import contextlib
import multiprocessing
import os
import subprocess
import sys

import pytest
import torch

import parity
from experiments import record
from experiments.performance.throughput import default_flax, measure, networks, table, worker
from experiments.performance.throughput.__main__ import main, store
from experiments.performance.throughput.networks import Workload, named
from experiments.performance.throughput.sides import (
    DEFAULT,
    EAGER,
    FLAXCNN,
    OPTION,
    REFERENCE,
    SIDES,
    seconds_of,
    torch_model,
)
from experiments.performance.throughput.summary import speed
from experiments.performance.throughput.worker import SideError, Worker


def test_a_workload_has_its_name():
    assert named("resnet18-64-32") == Workload("resnet18", 64, 32)
    assert named("resnet50-16-96-tf32") == Workload("resnet50", 16, 96, "tf32")
    assert named("resnet50-16-96-tf32").name == "resnet50-16-96-tf32"
    assert [named(workload.name) for workload in networks.WORKLOADS] == list(networks.WORKLOADS)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnet18-64", "resnet18-0-32", "resnet19-64-32", "resnet18-a-b", "resnet18-64-32-tf16"],
)
def test_another_name_is_refused_in_a_sentence(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["throughput", name])
    assert main() == 2
    assert capsys.readouterr().err.startswith(f"There is no workload '{name}'; write NETWORK-BATCH-SIZE")


@pytest.mark.slow
def test_a_refusal_is_the_exit_code_of_the_command():
    command = [sys.executable, "-m", "experiments.performance.throughput", "resnet18"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("There is no workload 'resnet18'; write NETWORK-BATCH-SIZE")
    assert "Traceback" not in run.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU there is TF32")
def test_tf32_without_a_gpu_is_refused_in_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["throughput", "resnet18-64-32-tf32"])
    monkeypatch.setattr(
        sys.modules[main.__module__], "measure", lambda *_, **__: pytest.fail("it is measured")
    )
    assert main() == 2
    assert capsys.readouterr().err.startswith("A workload that ends in -tf32 needs an NVIDIA GPU")


def test_the_peak_of_memory_is_asked_without_importing_a_library():
    code = "import sys; from experiments.performance.throughput.accelerator import peak_mebibytes\n"
    code += "print(peak_mebibytes() > 5, 'torch' in sys.modules, 'jax' in sys.modules)"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "False", "False"]


def test_ratios_are_taken_within_a_round_and_a_group():
    """A machine that slows down in the second round slows both sides down."""
    groups = [
        {"a": {"step": [1.0, 10.0]}, "b": {"step": [2.0, 20.0]}},
        {"a": {"step": [4.0, 4.0]}, "c": {"step": [1.0, 2.0]}},
    ]
    assert speed(groups, "a", "b", "step") == [2.0, 2.0]
    assert speed(groups, "a", "c", "step") == [0.25, 0.5]
    assert speed(groups, "b", "c", "step") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "size", "accepted"), [("resnet18", 16, ()), ("cnn", 28, ("flatten-order",))]
)
def test_default_flax_is_the_network_of_torch(network, size, accepted):
    """But that a user of Flax flattens height, width, channels."""
    workload = Workload(network, 2, size)
    flax = default_flax.BUILDERS[network](size)
    torch_side = torch_model(workload).eval()
    shape = f"2x{workload.channels}x{size}x{size}"
    report = parity.check(torch_side, flax, shape, mode="eval", accept=accepted)
    assert report.verdict == "equivalent", report.summary()


@pytest.mark.slow
def test_every_side_trains():
    """Two steps on one batch: the loss is finite and goes down; forward pass and evaluation run."""
    for name, build in SIDES.items():
        side = build(Workload("cnn", 16, 8))
        losses = [side.step() for _ in range(8)]
        side.forward()
        side.evaluate()
        assert losses[-1] < losses[0] < 10.0, name


@pytest.mark.slow
def test_a_turn_is_timed_in_processes_of_their_own():
    told = []
    turns = measure.turns_of([FLAXCNN, "torch, eager"], Workload("cnn", 4, 8), rounds=2, tell=told.append)
    assert list(turns) == [FLAXCNN, "torch, eager"]
    for figures in turns.values():
        assert [len(figures[call]) for call in ("step", "forward", "evaluate")] == [2, 2, 2]
        assert min(figures["step"]) > 0.0
        assert figures["peak_mebibytes"] > 50.0
        assert figures["first_step_seconds"] > 0.0
    assert len(told) == 3


def test_tables_without_a_record_are_said_to_be_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("experiments.record.RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["throughput", "--tables"])
    assert main() == 2
    assert capsys.readouterr().err.startswith(
        "Nothing is stored yet; python -m experiments.performance.throughput measures"
    )


def test_a_side_that_fails_is_said_and_leaves_no_process():
    before = multiprocessing.active_children()
    with pytest.raises(SideError, match=r"'flaxcnn' failed: .*unknown_network"):
        Worker(FLAXCNN, Workload("unknown_network", 2, 8))
    assert multiprocessing.active_children() == before


@pytest.mark.slow
def test_a_side_whose_process_is_gone_is_said():
    flaxcnn = Worker(FLAXCNN, Workload("cnn", 2, 8))
    with contextlib.closing(flaxcnn):
        multiprocessing.active_children()[-1].kill()
        with pytest.raises(SideError, match="ended by itself"):
            flaxcnn.seconds("step", 1)


@pytest.mark.parametrize(("side", "expected"), [(FLAXCNN, "glibc.malloc.hugetlb=1"), (REFERENCE, None)])
def test_flaxcnn_runs_with_huge_pages_and_the_reference_as_its_users_run_it(side, expected, monkeypatch):
    monkeypatch.setattr("flaxcnn.cli.huge_pages._mode", lambda: "always [madvise] never")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    with worker._environment_of(side):
        assert os.environ.get("GLIBC_TUNABLES") == expected
    assert "GLIBC_TUNABLES" not in os.environ


def test_a_turn_is_warm_before_it_is_timed(monkeypatch):
    """The first call takes 100 s of a clock that the calls move, each later one 1 s."""
    clock = {"now": 0.0, "calls": 0}

    def call():
        clock["now"] += 1.0 if clock["calls"] else 100.0
        clock["calls"] += 1

    monkeypatch.setattr("experiments.performance.throughput.sides.time.perf_counter", lambda: clock["now"])
    assert seconds_of(call, 3) == 1.0
    assert clock["calls"] == 4


class Stopwatch:
    """A worker whose calls take so long."""

    def __init__(self, seconds):
        self.value = seconds

    def seconds(self, call, times):
        return self.value


@pytest.mark.parametrize(("seconds", "calls"), [(0.01, 100), (0.4, 2), (2.0, 2), (6.0, 1)])
def test_a_turn_has_two_calls_at_least_but_one_if_that_is_long(seconds, calls):
    assert measure._warm(Stopwatch(seconds), "step") == calls


@pytest.mark.parametrize(
    ("name", "few", "gpu", "groups"),
    [
        ("resnet18-64-32", True, False, [["Flax, option", "Flax, default", "torch, eager"]]),
        ("resnet18-256-32", False, False, [["Flax, option"]]),
        ("resnet18-256-32", False, True, [["Flax, default", "torch, eager"]]),
        ("resnet18-200-32", True, False, [["Flax, option"], ["Flax, default"], ["torch, eager"]]),
    ],
)
def test_which_sides_are_measured_together(name, few, gpu, groups, monkeypatch):
    asked = []
    monkeypatch.setattr(measure, "has_gpu", lambda: gpu)
    monkeypatch.setattr(measure, "turns_of", lambda sides, *_: asked.append(list(sides)))
    measure.measured(named(name), 1, print, few=few)
    assert asked == [[FLAXCNN, REFERENCE, *group] for group in groups]


def environment(version, device, vectors):
    return {
        "versions": {"jax": version},
        "devices": [device],
        "vectors": vectors,
        "processor": "a processor",
        "cores": 2,
        "python": "3.11",
        "date": "2026-01-01",
    }


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Two made-up records of one workload: by a processor on which flaxcnn is fast, and by a GPU."""
    monkeypatch.setattr("experiments.record.RESULTS", tmp_path)
    sides = {FLAXCNN: 1.0, REFERENCE: 1.2, OPTION: 1.5, DEFAULT: 2.0, EAGER: 1.3}
    turns = {
        side: {call: [value] * 2 for call in ("step", "forward", "evaluate")}
        | {"first_step_seconds": 9.0, "peak_mebibytes": 100.0}
        for side, value in sides.items()
    }
    figures = {"network": "resnet18", "batch": 64, "size": 32, "rounds": 2, "step_gflop": 1.0}
    figures |= {"gemm_gflops": 2.0}
    on_gpu = {side: turns[side] for side in (FLAXCNN, REFERENCE, DEFAULT, EAGER)}
    machines = (
        (environment("0.10.2", "cpu: cpu", "AVX2"), turns),
        (environment("0.11.2", "gpu: NVIDIA X", "AVX2"), on_gpu),
    )
    for machine, group in machines:
        store("resnet18-64-32", figures | {"groups": [group], "environment": machine})
    return tmp_path


def test_a_record_is_kept_by_version_and_by_what_computed(stored):
    for items in (record.read("throughput")["workloads"], record.read_raw("throughput")):
        assert [item["version"] for item in items] == ["0.10.2, AVX2", "0.11.2, NVIDIA X"]
        assert {item["workload"] for item in items} == {"resnet18-64-32"}


def test_the_targets_are_said_to_be_reached_or_missed(stored):
    rows = [line.strip("| ").split(" | ") for line in table.targets().splitlines()[2:]]
    assert {row[0] for row in rows} == {"0.10.2, AVX2"}, "none was set for a GPU"
    reached = {(row[2], row[3]): (row[4].split()[0], row[5], row[6]) for row in rows}
    assert reached == {
        ("step of training", OPTION): ("1.50", "1.00", "reached"),
        ("step of training", REFERENCE): ("1.20", "1.10", "reached"),
        ("step of training", DEFAULT): ("2.00", "2.30", "**missed**"),
        ("evaluation", REFERENCE): ("1.20", "1.00", "reached"),
    }


def test_what_was_not_measured_is_a_dash(stored):
    lines = [line.strip("| ").split(" | ") for line in table.training().splitlines()]
    assert lines[0][3:7] == [f"of {side}" for side in (REFERENCE, EAGER, OPTION, DEFAULT)], (
        "no side that has none"
    )
    row = lines[3]
    assert row[:4] == ["0.11.2, NVIDIA X", "`resnet18-64-32`", "1000 ms", "1.20 (1.20 to 1.20)"]
    assert row[5] == "–"
    assert "NVIDIA" not in table.growth()


def test_every_table_and_the_picture_show_a_record_of_steps_beside_few(stored):
    """As where it is asked how the cost grows."""
    kept = record.read_raw("throughput")[0]
    few = {side: dict(kept["groups"][0][side]) for side in (FLAXCNN, REFERENCE, OPTION)}
    for figures in few.values():
        del figures["forward"], figures["evaluate"]
    store("resnet18-256-32", kept | {"batch": 256, "groups": [few]})
    for shown in (table.training(), table.targets(), table.growth(), table.costs()):
        assert "`resnet18-256-32`" in shown
    assert "`resnet18-256-32`" not in table.evaluation()
    assert table.draw().stat().st_size > 10_000
