"""Whole runs: what they leave behind, that they repeat, that they go on where they were stopped."""

import dataclasses
import json
import logging
import os
import signal

import jax
import numpy as np
import pytest
from rich.console import Console

from flaxcnn.train import run
from flaxcnn.train.checkpoint import CheckpointError, Checkpoints
from flaxcnn.train.evaluate import make_predict
from flaxcnn.train.interrupts import InterruptedRun, StopRequest
from flaxcnn.train.loading import load_splits
from flaxcnn.train.loop import NonFiniteLossError, Trainer
from flaxcnn.train.run_folder import RunFolder, RunFolderError
from flaxcnn.train.setup import model_of, pure, set_up
from flaxcnn.train.step import make_train_step
from flaxcnn.train.trained import load_run

TIMINGS = ("seconds", "images_per_second")


def figures(folder):
    """The recorded metrics without the times."""
    return [
        {k: v for k, v in record.items() if k not in TIMINGS} for record in RunFolder.open(folder).history()
    ]


def test_a_run_leaves_config_metrics_summary_and_checkpoints(config, tmp_path, caplog):
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        summary = run.train(config.replace(tensorboard=True, pictures=True))
    folder = tmp_path / "run"
    written = json.loads((folder / "summary.json").read_text())
    assert written.keys() >= {"test_accuracy", "test_loss", "images_per_second", "compilations", "seconds"}
    assert written["compilations"] == summary["compilations"] == 1
    # JAX's own log is the witness: the short last batch did not compile the step again.
    compiled = [
        record.getMessage() for record in caplog.records if record.getMessage().startswith("Compiling ")
    ]
    assert sum("train_step" in message for message in compiled) == 1
    assert RunFolder.open(folder).config() == config.replace(tensorboard=True, pictures=True)
    history = RunFolder.open(folder).history()
    assert [record["epoch"] for record in history] == [1, 2]
    assert [record["step"] for record in history] == [5, 10]
    assert history[0]["train_accuracy"] != history[1]["train_accuracy"]
    last = {name: written[name] for name in ("train_accuracy", "validation_accuracy", "steps")}
    assert last == {name: history[-1]["step" if name == "steps" else name] for name in last}
    assert list((folder / "events").iterdir())
    assert {path.name for path in folder.glob("*.png")} == {
        "learning_curves.png",
        "confusion_matrix.png",
        "most_confidently_wrong.png",
        "first_layer_filters.png",
        "feature_maps.png",
    }
    assert not list(folder.glob(".*.tmp"))
    trained = load_run(folder)
    again = trained.evaluate("test")
    assert (again.accuracy, again.count) == (summary["test_accuracy"], summary["test_count"])
    assert trained.evaluate("test", batch_size=7).loss == pytest.approx(summary["test_loss"], rel=1e-5)


@pytest.mark.slow
def test_the_same_seed_repeats_bit_for_bit_and_another_does_not(config, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run.train(config.replace(out=str(tmp_path / name), seed=seed))
    assert figures(tmp_path / "a") == figures(tmp_path / "b")
    assert figures(tmp_path / "a") != figures(tmp_path / "c")


class InterruptingStep:
    """A train step that sends this process Ctrl-C at its `at`-th call."""

    def __init__(self, step, at):
        self.step, self.at, self.calls = step, at, 0
        self.compile_seconds = 0.0

    def __call__(self, *arguments):
        self.calls += 1
        if self.calls == self.at:
            os.kill(os.getpid(), signal.SIGINT)
        return self.step(*arguments)


@pytest.mark.parametrize(
    "at",
    [pytest.param(3, marks=pytest.mark.slow), *(pytest.param(n, marks=pytest.mark.drawn) for n in (5, 8))],
)
def test_an_interrupted_and_resumed_run_equals_an_uninterrupted_one(config, tmp_path, at):
    config = config.replace(ema_decay=0.9)
    run.train(config.replace(out=str(tmp_path / "whole")))
    job = set_up(config)
    object.__setattr__(job, "train_step", InterruptingStep(job.train_step, at))
    folder = RunFolder.create(config.run.out, config)
    folder.write_data(job.splits.info, np.asarray(job.recipe.mean), np.asarray(job.recipe.std))
    from rich.console import Console

    with pytest.raises(InterruptedRun, match=f"after step {at}, .*--resume") as caught:
        Trainer(job, folder, Console(quiet=True)).run()
    assert caught.value.signal == signal.SIGINT
    summary = run.resume(folder.path)
    assert figures(folder.path) == figures(tmp_path / "whole")
    whole, resumed = load_run(tmp_path / "whole"), load_run(folder.path)
    for name, value in whole.params.items():
        np.testing.assert_array_equal(value, resumed.params[name], err_msg=name)
    assert summary["steps"] == 10
    with pytest.raises(RunFolderError, match="is complete"):
        run.resume(folder.path)


def test_a_second_ctrl_c_interrupts_at_once():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_and_keeps_the_good_checkpoint(config, monkeypatch):
    """The rate explodes in the second epoch; the first epoch's checkpoint survives."""
    monkeypatch.setattr("flaxcnn.train.loop.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    config = config.replace(schedule="multistep", milestone_epochs=[1.2], gamma=1e30)
    with pytest.raises(
        NonFiniteLossError,
        match=r"at step ([7-9]|10) \(epoch 2\): training stopped, the last good checkpoint, of step 5, is",
    ):
        run.train(config)
    folder = RunFolder.open(config.run.out)
    assert folder.summary() is None
    assert Checkpoints(folder.path).info("last")["position"]["epoch"] == 1
    assert all(np.isfinite(np.asarray(value)).all() for value in load_run(folder.path).params.values())


def damage(folder):
    """Flip bytes in the middle of the largest file of a checkpoint."""
    path = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(255 - byte for byte in content[middle : middle + 64])
    path.write_bytes(bytes(content))


def test_a_damaged_or_missing_or_foreign_checkpoint_is_one_sentence(config, tmp_path):
    run.train(config.replace(epochs=1))
    folder = RunFolder.open(config.run.out)
    with pytest.raises(CheckpointError, match="There is no checkpoint in"):
        Checkpoints(tmp_path).info("last")
    other = config.replace(model_options={"channels": [4, 5], "hidden": 8, "batch_norm": True}, epochs=1)
    (folder.path / "config.json").write_text(other.to_json())
    with pytest.raises(
        CheckpointError, match=r"belongs to another model.*float32\[4\] there and float32\[5\] here"
    ):
        load_run(folder.path)
    (folder.path / "config.json").write_text(config.to_json())
    damage(folder.path / "checkpoints")
    with pytest.raises(CheckpointError, match=r"is damaged or cannot be read \(.*\); train again") as caught:
        load_run(folder.path)
    assert "\n" not in str(caught.value)


def test_a_used_or_unwritable_run_folder_is_refused_and_left_alone(config, tmp_path):
    used = tmp_path / "used"
    used.mkdir()
    (used / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="is used already; give another with --out"):
        run.train(config.replace(out=str(used)))
    assert [path.name for path in used.iterdir()] == ["thesis.txt"]
    with pytest.raises(RunFolderError, match="cannot be written"):
        run.train(config.replace(out=str(used / "thesis.txt" / "run")))
    with pytest.raises(RunFolderError, match="is not a run folder"):
        run.resume(used)


@pytest.mark.slow
def test_a_loaded_run_evaluates_as_it_was_trained_with_its_norms_folded(config):
    summary = run.train(config.replace(ema_decay=0.9))
    trained = load_run(config.run.out)
    params, state = trained.folded
    assert not state
    assert not {"bn1.weight", "bn2.weight"} & params.keys()
    assert {"bn1.weight", "bn2.weight"} < trained.params.keys()
    result = trained.evaluate("test")
    assert result.accuracy == summary["test_accuracy"]
    assert result.loss == pytest.approx(summary["test_loss"], rel=1e-6)
    images = load_splits(trained.config).test.gather(np.arange(8))[0]
    plain = make_predict(pure(config, model_of(config, trained.info)).apply, *trained.normalisation)
    expected = np.asarray(plain(trained.params, trained.state, images))
    np.testing.assert_allclose(trained.logits(images), expected, rtol=1e-5, atol=1e-5)


def test_without_validation_the_last_epoch_is_the_best(config):
    summary = run.train(config.replace(validation_fraction=0.0))
    assert summary["best_epoch"] == 2
    assert summary["validation_accuracy"] is None
    assert load_run(config.run.out, "best").evaluate("test").accuracy == summary["test_accuracy"]


@pytest.mark.parametrize(
    ("optimiser", "rate"),
    [
        pytest.param("adam", 0.03, marks=pytest.mark.slow),
        pytest.param("adamw", 0.03, marks=pytest.mark.drawn),
        pytest.param("rmsprop", 0.003, marks=pytest.mark.drawn),
    ],
)
def test_other_optimisers_train_in_bfloat16(config, optimiser, rate):
    config = config.replace(optimiser=optimiser, learning_rate=rate, epochs=8, precision="bfloat16")
    config = config.replace(crop_padding=0, rotate=0.0, label_smoothing=0.0)
    if optimiser != "rmsprop":
        with pytest.raises(ValueError, match=r"momentum was set to 0\.5, which adam"):
            run.train(config.replace(momentum=0.5))
    run.train(config)
    history = RunFolder.open(config.run.out).history()
    assert history[-1]["train_loss"] < history[0]["train_loss"] - 0.2


def test_the_fast_rules_are_for_the_run_to_switch_off(config):
    """Every convolution of a step says which rules may compute it."""

    def printed(fast_rules):
        job = set_up(config.replace(fast_rules=fast_rules))
        shapes = {"image": job.splits.info.image_shape, "label": (), "mask": ()}
        dtypes = {"image": np.uint8, "label": np.int32, "mask": bool}
        batch = {name: np.ones((4, *shape), dtypes[name]) for name, shape in shapes.items()}
        return str(jax.make_jaxpr(make_train_step(job.recipe))(job.train_state, batch))

    assert "flaxcnn_kernel_gradient" in printed(True)
    assert "names=frozenset()" not in printed(True)
    assert "names=frozenset({" not in printed(False)
    assert "names=frozenset()" in printed(False)


def test_an_accuracy_of_zero_is_a_figure(config, monkeypatch):
    """`or` took 0.0 for "none", and kept the figures of the training split as the best."""
    job = set_up(config)
    trainer = Trainer(job, RunFolder.create(config.run.out, config), Console(quiet=True))
    measured = trainer.evaluate
    accuracies = iter([0.0, 0.0])

    def evaluated(source):
        figures = measured(source)
        return dataclasses.replace(figures, accuracy=next(accuracies), loss=0.0)

    monkeypatch.setattr(trainer, "evaluate", evaluated)
    trainer.run()
    assert (trainer.position.best_accuracy, trainer.position.best_loss) == (0.0, 0.0)
    assert trainer.position.best_epoch == 1
