"""The learning curves show the recorded values."""

import numpy as np
import pytest
from PIL import Image

from flaxcnn.plots import learning_curves
from flaxcnn.plots.curves import draw_learning_curves


def record(epoch, **changes):
    values = {
        "epoch": epoch,
        "train_loss": 2.0 / epoch,
        "validation_loss": 2.5 / epoch,
        "train_accuracy": 1 - 0.5 / epoch,
        "validation_accuracy": 0.9 - 0.5 / epoch,
        "learning_rate": 0.1 * epoch,
    }
    return values | changes


def curves(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


def test_the_curves_are_the_history():
    figure = draw_learning_curves([record(1), record(2), record(3, validation_accuracy=0.1)])
    loss, accuracy, rate = figure.axes
    np.testing.assert_allclose(curves(loss)["train"], [[1, 2.0], [2, 1.0], [3, 2 / 3]])
    np.testing.assert_allclose(curves(loss)["validation"], [[1, 2.5], [2, 1.25], [3, 2.5 / 3]])
    np.testing.assert_allclose(curves(accuracy)["train"], [[1, 50], [2, 75], [3, 100 - 50 / 3]])
    np.testing.assert_allclose(curves(accuracy)["validation"], [[1, 40], [2, 65], [3, 10]])
    np.testing.assert_allclose(curves(rate)["learning rate"], [[1, 0.1], [2, 0.2], [3, 0.3]])
    assert "best validation accuracy 65.00 % after epoch 2" in figure.get_suptitle()
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train", "validation"]


@pytest.mark.parametrize("missing", [None, float("nan"), "absent"])
def test_without_validation_there_is_one_curve(missing):
    history = [record(e, validation_loss=missing, validation_accuracy=missing) for e in (1, 2)]
    if missing == "absent":
        history = [{k: v for k, v in r.items() if not k.startswith("validation")} for r in history]
    figure = draw_learning_curves(history)
    assert list(curves(figure.axes[0])) == ["train"]
    assert "best" not in figure.get_suptitle()


def test_a_loss_of_large_range_has_a_logarithmic_scale(tmp_path):
    history = [record(1, validation_loss=30.0), record(2)]
    assert draw_learning_curves(history).axes[0].get_yscale() == "log"
    assert draw_learning_curves([record(1), record(2)]).axes[0].get_yscale() == "linear"
    assert draw_learning_curves([record(1, train_loss=0.0), record(2)]).axes[0].get_yscale() == "linear"
    learning_curves(history, tmp_path / "curves.png")


def test_a_value_without_records_is_named():
    figure = draw_learning_curves([{"epoch": 1, "train_loss": 1.0}])
    assert [t.get_text() for t in figure.axes[2].texts] == ["not recorded"]


def test_one_epoch_and_a_missing_value_are_drawn(tmp_path):
    for name, history in (("one", [record(1)]), ("gap", [record(1), record(2, train_loss=None), record(3)])):
        path = learning_curves(history, tmp_path / f"{name}.png")
        with Image.open(path) as image:
            image.load()
            assert image.size == (1950, 600)


def test_no_epoch_is_said():
    assert "No epoch" in draw_learning_curves([]).texts[0].get_text()
