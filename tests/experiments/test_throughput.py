"""The benchmark: its settings, its turns, and that all sides compute the same network."""

import contextlib
import multiprocessing
import subprocess
import sys

import pytest

import parity
from experiments.throughput import default_flax, measure, networks
from experiments.throughput.__main__ import main
from experiments.throughput.networks import Setting, named
from experiments.throughput.sides import OURS, SIDES, torch_model
from experiments.throughput.worker import SideError, Worker


def test_a_setting_has_its_name():
    assert named("resnet18-64-32") == Setting("resnet18", 64, 32)
    assert [named(one.name) for one in networks.SETTINGS] == list(networks.SETTINGS)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet18-64", "resnet18-0-32", "resnet19-64-32", "resnet18-a-b"]
)
def test_another_name_is_refused_in_a_sentence(name):
    command = [sys.executable, "-m", "experiments.throughput", name]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith(f"There is no setting '{name}'; write NETWORK-BATCH-SIZE")
    assert "Traceback" not in run.stderr


def test_ratios_are_taken_within_a_round_and_a_group():
    """A machine that slows down in the second round slows both sides down."""
    figures = {
        "groups": [
            {"a": {"step": [1.0, 10.0]}, "b": {"step": [2.0, 20.0]}},
            {"a": {"step": [4.0, 4.0]}, "c": {"step": [1.0, 2.0]}},
        ]
    }
    assert measure.speed(figures, "a", "b", "step") == [2.0, 2.0]
    assert measure.speed(figures, "a", "c", "step") == [0.25, 0.5]
    assert measure.speed(figures, "b", "c", "step") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "size", "accepted"), [("resnet18", 16, ()), ("cnn", 28, ("flatten-order",))]
)
def test_default_flax_is_the_network_of_torch(network, size, accepted):
    """But that a user of Flax flattens height, width, channels."""
    setting = Setting(network, 2, size)
    flax = default_flax.BUILDERS[network](size)
    theirs = torch_model(setting).eval()
    shape = f"2x{setting.channels}x{size}x{size}"
    report = parity.check(theirs, flax, shape, mode="eval", accept=accepted)
    assert report.verdict == "equivalent", report.summary()


@pytest.mark.slow
def test_every_side_trains():
    """Two steps on one batch: the loss is finite and goes down; forward pass and evaluation run."""
    for name, build in SIDES.items():
        side = build(Setting("cnn", 16, 8))
        losses = [side.step() for _ in range(8)]
        side.forward()
        side.evaluate()
        assert losses[-1] < losses[0] < 10.0, name


@pytest.mark.slow
def test_a_turn_is_timed_in_processes_of_their_own():
    told = []
    found = measure.turns_of([OURS, "torch, eager"], Setting("cnn", 4, 8), rounds=2, tell=told.append)
    assert list(found) == [OURS, "torch, eager"]
    for figures in found.values():
        assert [len(figures[call]) for call in ("step", "forward", "evaluate")] == [2, 2, 2]
        assert min(figures["step"]) > 0.0
        assert figures["peak_mebibytes"] > 50.0
        assert figures["first_step_seconds"] > max(figures["step"])
    assert len(told) == 3


def test_tables_without_a_record_are_said_to_be_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("experiments.record.RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["throughput", "--tables"])
    assert main() == 2
    assert capsys.readouterr().err.startswith(
        "Nothing is stored yet; python -m experiments.throughput measures"
    )


def test_a_side_that_fails_is_said_and_leaves_no_process():
    before = multiprocessing.active_children()
    with pytest.raises(SideError, match=r"'flaxcnn' failed: .*unknown_network"):
        Worker(OURS, Setting("unknown_network", 2, 8))
    assert multiprocessing.active_children() == before


def test_a_side_whose_process_is_gone_is_said():
    worker = Worker(OURS, Setting("cnn", 2, 8))
    with contextlib.closing(worker):
        multiprocessing.active_children()[-1].kill()
        with pytest.raises(SideError, match="ended by itself"):
            worker.seconds("step", 1)
