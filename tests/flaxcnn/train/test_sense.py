"""Settings that make no sense are refused before anything is read, or remarked upon; runs of before are left alone."""

import pytest

from flaxcnn.cli.main import main
from flaxcnn.config import Config, ConfigError
from flaxcnn.errors import FlaxcnnError
from flaxcnn.train import run, sense
from flaxcnn.train.setup import set_up


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing is 1, so that every label"),
        ({"ema_decay": 1.0}, "ema_decay is 1, so that the average"),
        ({"brightness": 1000.0}, "brightness is 1000; expected a number from 0 to 1"),
        ({"contrast": 1.5}, r"contrast is 1\.5"),
        ({"saturation": 1.01}, r"saturation is 1\.01"),
        (
            {"schedule": "multistep", "milestone_epochs": [-1.0, 5.0]},
            "milestone_epochs is -1 5; expected epochs above 0",
        ),
        (
            {"schedule": "multistep", "milestone_epochs": [9.0, 5.0]},
            "milestone_epochs is 9 5; .*later than the one",
        ),
        ({"schedule": "multistep", "milestone_epochs": [5.0, 5.0]}, "milestone_epochs is 5 5"),
        ({"schedule": "multistep", "milestone_epochs": [float("nan")]}, "milestone_epochs is nan"),
        ({"schedule": "step", "step_epochs": 0.0}, "step_epochs is 0; expected a number above 0"),
        ({"schedule": "step", "step_epochs": float("nan")}, "step_epochs is nan"),
        (
            {"schedule": "cosine", "gamma": 0.5},
            "gamma was set to 0.5, which the schedule cosine does not use",
        ),
        (
            {"milestone_epochs": [3.0]},
            "milestone_epochs was set to 3, which the schedule one_cycle does not use",
        ),
        ({"step_epochs": 3.0}, "step_epochs was set to 3, .*choose the schedule step"),
        ({"schedule": "step", "one_cycle_warmup": 0.1}, "one_cycle_warmup was set to 0.1"),
        ({"beta1": 0.5}, "beta1 was set to 0.5, which sgd does not use"),
        ({"optimiser": "rmsprop", "beta2": 0.5}, "beta2 was set to 0.5, which rmsprop does not use"),
        ({"optimiser": "adam", "momentum": 0.5}, "momentum was set to 0.5, which adam does not use"),
        ({"schedule": "cosin"}, "no schedule named 'cosin': did you mean cosine"),
        ({"optimiser": "adma"}, "no optimiser named 'adma': did you mean adam"),
        ({"data": "digits", "cutout": 9}, "cutout is 9, but the images have 8x8 pixels"),
        ({"data": "digits", "crop_padding": 8}, "crop_padding is 8, but the images have 8x8 pixels"),
    ],
    ids=str,
)
def test_it_is_refused_in_one_sentence_and_nothing_is_written(settings, sentence, tmp_path):
    config = Config().replace(model="cnn", out=str(tmp_path / "run"), **settings)
    with pytest.raises(FlaxcnnError, match=sentence) as caught:
        run.train(config)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_at_the_edge_is_taken():
    sense.check(Config().replace(brightness=1.0, label_smoothing=0.99, ema_decay=0.9999))
    sense.check(Config().replace(schedule="exponential", gamma=0.9))
    sense.check(Config().replace(schedule="multistep", milestone_epochs=[1.5, 2.0]))
    sense.check(Config().replace(optimiser="adamw", beta1=0.5))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"optimiser": "adam", "learning_rate": 0.2},
            ["The learning rate 0.2 is one for sgd; adam usually diverges"],
        ),
        ({"optimiser": "rmsprop", "learning_rate": 0.05}, ["rmsprop usually diverges"]),
        ({"optimiser": "adam", "learning_rate": 0.049}, []),
        ({"optimiser": "adam"}, []),
        ({"learning_rate": 0.2}, []),
        ({"schedule": "multistep", "epochs": 20}, ["of 20 epochs ends before the milestones 25."]),
        ({"schedule": "multistep", "epochs": 26}, []),
    ],
    ids=str,
)
def test_what_is_probably_not_meant_is_said(settings, said):
    found = sense.remarks(Config().replace(**settings))
    assert len(found) == len(said)
    assert all(part in sentence for part, sentence in zip(said, found, strict=True))


def test_the_remark_is_printed_in_one_line(tmp_path, capsys):
    tiny = ["--model", "cnn", "--model-options", "channels=[2,2]", "--epochs", "1", "--batch-size", "256"]
    flags = ["--optimiser", "adam", "--learning-rate", "0.2", "--no-pictures", "--no-tensorboard"]
    assert main(["train", *tiny, *flags, "--out", str(tmp_path / "run")]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1 and "adam usually diverges" in notes[0]


def test_a_run_of_before_may_have_such_settings(config):
    """It is set up to go on as it was started."""
    before = config.replace(brightness=2.0, gamma=0.5, label_smoothing=1.0, cutout=20)
    with pytest.raises(ConfigError):
        sense.check(before)
    assert set_up(before).config == before
