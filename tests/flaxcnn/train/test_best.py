"""Which epochs of a run are the best, which of their checkpoints are kept, and when a run stops early."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from flaxcnn.config import ConfigError
from flaxcnn.train import run
from flaxcnn.train.checkpoint import Checkpoints
from flaxcnn.train.loop import Trainer
from flaxcnn.train.position import Position
from flaxcnn.train.run_folder import RunFolder, RunFolderError
from flaxcnn.train.setup import set_up
from flaxcnn.train.trained import load_run


def test_the_raw_weights_are_evaluated_beside_their_average(quick, job_config, tmp_path):
    """The raw figures are those of the same run without an average, whose weights are the same."""
    config = job_config.replace(ema_decay=0.9999)
    averaged = run.train(config)
    plain = run.train(config.replace(ema_decay=0.0, out=str(tmp_path / "plain")))
    assert averaged["raw_test_loss"] == pytest.approx(plain["test_loss"], rel=1e-6)
    assert averaged["raw_test_accuracy"] == plain["test_accuracy"]
    assert plain["raw_test_accuracy"] is None
    history = RunFolder.open(config.run.out).history()
    others = RunFolder.open(tmp_path / "plain").history()
    assert [item["raw_validation_loss"] for item in history] == pytest.approx(
        [item["validation_loss"] for item in others], rel=1e-6
    )
    assert averaged["test_loss"] != averaged["raw_test_loss"]


def with_accuracies(monkeypatch, accuracies):
    """Validation, and in the end the test, come to these figures."""
    real, following = Trainer.evaluate_both, iter(accuracies)

    def evaluated(trainer, source):
        found, raw = real(trainer, source)
        accuracy = next(following, 0.5) if source is trainer.job.splits.validation else found.accuracy
        return dataclasses.replace(found, accuracy=accuracy, loss=1.0), raw

    monkeypatch.setattr(Trainer, "evaluate_both", evaluated)


def test_early_stopping_ends_a_run_and_another_patience_goes_on(quick, job_config, monkeypatch):
    config = job_config.replace(epochs=9, early_stopping=2, keep_best=2)
    # Equal to the best is not better.
    with_accuracies(monkeypatch, [0.2, 0.6, 0.6, 0.5])
    summary = run.train(config)
    assert (summary["epochs"], summary["best_epoch"], summary["stopped_early"]) == (4, 2, True)
    assert [item["epoch"] for item in summary["best"]] == [2, 3]
    with pytest.raises(RunFolderError, match="is complete"):
        run.resume(config.run.out)
    with pytest.raises(RunFolderError, match="is complete"):
        run.resume(config.run.out, changes={"epochs": 12})
    assert RunFolder.open(config.run.out).summary() is not None
    with_accuracies(monkeypatch, [0.7, 0.1, 0.1])
    summary = run.resume(config.run.out, changes={"early_stopping": 3, "epochs": 8})
    assert (summary["epochs"], summary["best_epoch"], summary["stopped_early"]) == (8, 5, True)


def test_early_stopping_needs_a_validation(config):
    with pytest.raises(ConfigError, match="early_stopping is 2, but validation_fraction is 0"):
        set_up(config.replace(early_stopping=2, validation_fraction=0.0))
    with pytest.raises(ConfigError, match="accumulate is 5, which does not divide the batch size 32"):
        set_up(config.replace(accumulate=5))


def test_the_best_checkpoints_are_kept_in_order(quick, job_config, monkeypatch):
    config = job_config.replace(epochs=6, keep_best=3)
    with_accuracies(monkeypatch, [0.1, 0.0, 0.7, 0.3, 0.7, 0.2])
    summary = run.train(config)
    assert [(item["epoch"], item["accuracy"]) for item in summary["best"]] == [(3, 0.7), (5, 0.7), (4, 0.3)]
    folder = Path(config.run.out)
    kinds = {kind: int(path.stem[-8:]) for kind, path in Checkpoints(folder).kinds().items()}
    assert kinds == {"last": 30, "best": 15, "best-2": 25, "best-3": 20}
    assert Checkpoints(folder).steps() == [15, 20, 25, 30]
    for kind, step in kinds.items():
        assert Checkpoints(folder).info(kind)["position"]["epoch"] == step / 5
    assert load_run(folder, "best-2").evaluate("test").count == 45


def test_of_equal_accuracies_the_lower_loss_is_better():
    """Then the earlier epoch; a loss that is not a number is the worst, yet its accuracy counts first."""
    position = Position()
    figures = [(0.5, 2.0), (0.5, np.nan), (0.5, 1.0), (0.5, 2.0), (0.9, np.inf), (0.4, 0.1)]
    among = [
        position.rank({"accuracy": accuracy, "loss": loss, "epoch": epoch, "step": epoch}, 4)
        for epoch, (accuracy, loss) in enumerate(figures, 1)
    ]
    assert [item["epoch"] for item in position.best] == [5, 3, 1, 4]
    assert [item["loss"] for item in position.best] == [None, 1.0, 2.0, 2.0]
    assert among == [True, True, True, True, True, False]
    assert (position.best_epoch, position.best_accuracy, position.best_loss) == (5, 0.9, None)
