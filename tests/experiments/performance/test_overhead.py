"""The measurement of what a run costs beside its steps: its arithmetic, its counts, its refusals."""

import json
import sys
import threading

import jax
import jax.numpy as jnp
import pytest

from experiments import record
from experiments.performance.overhead import __main__ as command
from experiments.performance.overhead import compilations, pipeline, startup, table
from experiments.performance.overhead.counted import counting
from experiments.performance.overhead.pipeline import Watched, idle_seconds, measured
from experiments.performance.overhead.process import ChildError, output
from experiments.performance.overhead.settings import RunSetting
from flaxcnn.config import Config
from flaxcnn.train.compiling import Compiled


@pytest.mark.parametrize(
    ("returned", "ready", "idle"),
    [
        # The next step is dispatched while the device still computes: only the start and the end are idle.
        ([1.0, 2.0, 3.0], [4.0, 7.0, 10.0], 1.0 + 0.5),
        # The second step is dispatched 2 seconds after the first is done, the third 0.5 after the second.
        ([0.0, 6.0, 8.0], [4.0, 7.5, 10.5], 2.0 + 0.5),
    ],
)
def test_idle_is_what_lies_between_a_result_and_the_next_dispatch(returned, ready, idle):
    assert idle_seconds(0.0, returned, ready, 10.5) == pytest.approx(idle)


def test_a_watched_step_notes_every_result():
    before = threading.active_count()
    step = Watched(Compiled(lambda state, batch: (state + batch, {"loss": jnp.sum(state)})))
    state = jnp.zeros(4)
    for _ in range(5):
        state, _ = step(state, jnp.ones(4))
    step.close()
    assert threading.active_count() == before
    assert float(state[0]) == 5.0
    assert len(step.returned) == len(step.ready) == 5
    assert step.ready == sorted(step.ready)


def test_compilations_are_counted_by_function():
    @jax.jit
    def twice(x):
        return 2 * x

    with counting() as (programs, _):
        for size in (3, 3, 4):
            twice(jnp.ones(size))
    assert programs["twice"] == 2


def test_a_command_that_fails_is_said_in_a_sentence():
    with pytest.raises(ChildError, match=r"python -c .* failed with exit code 3: no message"):
        output(["-c", "raise SystemExit(3)"])
    with pytest.raises(ChildError, match="failed with exit code 1: ValueError: reason"):
        output(["-c", "raise ValueError('reason')"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["start"], "There is no part 'start'; the parts are imports, startup, "),
        (["--rounds", "1"], "--rounds is 1; at least two turns are needed."),
        (["--tables"], "Nothing is stored yet; python -m experiments.performance.overhead measures"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("experiments.record.RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["overhead", *arguments])
    assert command.main() == 2
    told = capsys.readouterr().err
    assert told.startswith(sentence)
    assert told.count("\n") == 1


def a_record(idle):
    """A record of every part, with a device that is idle for this share."""
    loop = {"seconds": 10.0, "waiting": 0.1, "loop_processor": 0.2, "helpers_processor": 0.3}
    turns = {
        "steps": 100,
        "loop": [loop | {"idle": 10.0 * idle}] * 2,
        "resident": [{"seconds": 9.8, "processor": 0.1}] * 2,
    }
    evaluation = {
        "seconds": {"plain": [0.3, 0.3], "folded": [0.2, 0.3]},
        "compile_seconds": {"plain": 2.0, "folded": 1.0},
        "fold_seconds": 0.01,
    }
    return {
        "imports": {"seconds": {"flaxcnn --help": [0.1, 0.2], "import flaxcnn": [1.1, 1.3]}},
        "startup": {"seconds": {"flaxcnn train": {"cold": [20.0, 21.0], "warm": [5.0, 5.2]}}},
        "compilations": {
            "command": "flaxcnn train",
            "runs": {
                "cold": {"programs": {"train_step": 1, "predict": 2}},
                "warm": {"programs": {"train_step": 1, "predict": 1}},
            },
        },
        "pipeline": {"settings": {"cnn": turns}, "cores": 2},
        "evaluation": {"settings": {"cnn": evaluation}},
    }


def test_the_table_says_what_is_reached_and_what_is_missed(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.record.RESULTS", tmp_path)
    for name, figures in a_record(idle=0.03).items():
        command.store(name, figures | {"environment": command.environment()})
    assert json.loads((tmp_path / "overhead.json").read_text())["parts"].keys() == command.PARTS.keys()
    rows = {line.split(" | ")[0].strip("| "): line for line in table.table().splitlines() if " | " in line}
    assert rows["`flaxcnn --help`"].endswith("| 0.15 s (0.10 s to 0.20 s, n = 2) | < 0.50 s | reached |")
    assert rows["`import flaxcnn`"].endswith("| < 1.00 s | missed |")
    assert rows["compilations of `train_step` in `flaxcnn train`"].endswith("| 1 and 1 | 1 | reached |")
    assert rows["compilations of `predict` in `flaxcnn train`"].endswith("| 2 and 1 | 1 | missed |")
    step = "cnn, a step of 100 ms"
    assert rows[f"{step}: device idle"].endswith("| 3.00% (3.00% to 3.00%, n = 2) | < 2.00% | missed |")
    # 0.2 + 0.3 - 0.1 processor seconds of 10 seconds on 2 cores.
    assert "| 2.00% (2.00% to 2.00%, n = 2) |" in rows[f"{step}: the host's share"]
    assert "2.00%" in rows[f"{step}: longer than on one resident batch by"]


def test_one_part_is_measured_again_and_the_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.record.RESULTS", tmp_path)
    command.store("imports", {"seconds": {}})
    command.store("startup", {"seconds": {}})
    command.store("imports", {"seconds": {"flaxcnn --help": [0.1]}})
    assert record.read("overhead")["parts"] == {
        "imports": {"seconds": {"flaxcnn --help": [0.1]}},
        "startup": {"seconds": {}},
    }


@pytest.mark.slow
def test_the_real_loop_is_measured():
    """On digits: every turn accounts for its seconds, and one compiled step serves all."""
    config = Config().replace(model="cnn", model_options={"channels": [4, 4]}, batch_size=32)
    setting = RunSetting("tiny", config, 6)
    figures = measured(2, (setting,))["settings"]["tiny"]
    assert (figures["steps"], len(figures["loop"]), len(figures["resident"])) == (6, 2, 2)
    for turn in figures["loop"]:
        assert 0.0 < turn["idle"] < turn["seconds"]
        assert 0.0 < turn["waiting"] < turn["seconds"]
        assert turn["loop_processor"] > 0.0
        assert turn["helpers_processor"] > 0.0


@pytest.mark.slow
def test_the_clock_of_a_start_stops_at_the_first_step(monkeypatch):
    monkeypatch.setattr(
        startup, "RUNS", {"cnn": ("--model", "cnn", "--no-tensorboard", "--epochs", "100000")}
    )
    seconds = startup.first_steps(2)["seconds"]["cnn"]
    assert len(seconds["cold"]) == len(seconds["warm"]) == 2


@pytest.mark.slow
def test_a_whole_run_is_counted():
    runs = compilations.measured(1)["runs"]
    for counts in runs.values():
        assert [counts["programs"][name] for name in compilations.FUNCTIONS] == [1, 1]


def test_a_feed_accounts_for_waiting_and_for_its_threads():
    feed = pipeline.Feed(iter([{"image": 1}, {"image": 2}]), set())
    assert [batch["image"] for batch in feed] == [1, 2]
    assert feed.waiting > 0.0
    # Nobody was there before, so this thread is one of the helpers.
    assert feed.helpers > 0.0
