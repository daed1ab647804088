"""`flaxcnn finetune` from end to end: what it trains, leaves, resumes, and refuses in one sentence."""

import json
import os

import numpy as np
import pytest

import flaxcnn
from flaxcnn.cli import main
from flaxcnn.config import ConfigError
from flaxcnn.train import run
from flaxcnn.train.checkpoint import Checkpoints
from flaxcnn.train.interrupts import InterruptedRun, StopRequest
from flaxcnn.train.loop import Trainer
from flaxcnn.train.run_folder import RunFolder
from flaxcnn.train.trained import load_run

QUIET = ["--no-pictures", "--no-tensorboard", "--batch-size", "20", "--workers", "0"]
THAWING = ["--freeze", "conv1", "bn1", "conv2", "bn2", "--thaw", "1:conv2", "1:bn2", "--epochs", "2"]
RATES = ["--rates", "fc2=0.02", "--layer-decay", "0.5", "--ema-decay", "0.9"]


@pytest.fixture(scope="module")
def tuned(pretrained, halves, tmp_path_factory):
    """A fine-tuning of two epochs, in the second of which more is trained."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    flags = ["--data", str(halves["high"]), *THAWING, *RATES, *QUIET, "--keep-best", "2"]
    assert main(["finetune", str(pretrained), *flags, "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_what_is_frozen_is_bit_unchanged_and_what_is_thawed_is_not(pretrained, tuned):
    before, after = load_run(pretrained), load_run(tuned)
    frozen = [name for name in before.params | before.state if name.startswith(("conv1.", "bn1."))]
    assert len(frozen) == 7
    for name in frozen:
        held, was = ((run.params | run.state)[name] for run in (after, before))
        assert np.array_equal(held, was), name
    for name in ("conv2.weight", "bn2.running_mean", "fc1.weight", "fc2.weight"):
        held, was = ((run.params | run.state)[name] for run in (after, before))
        assert not np.array_equal(held, was), name
    assert after.info.class_names == tuple(f"digit {number}" for number in range(5, 10))
    assert RunFolder.open(tuned).summary()["compilations"] == 2


@pytest.mark.slow
def test_normalisation_and_settings_travel_into_the_run(pretrained, tuned):
    (_, mean, std), (_, now, scale) = (RunFolder.open(path).read_data() for path in (pretrained, tuned))
    np.testing.assert_array_equal([now, scale], [mean, std])
    settings = json.loads((tuned / "config.json").read_text())["transfer"]
    assert settings["start"] == str(pretrained)
    assert settings["freeze"] == ["conv1", "bn1", "conv2", "bn2"] and settings["thaw"] == ["1:conv2", "1:bn2"]
    assert settings["layer_decay"] == 0.5 and settings["rates"] == ["fc2=0.02"]


@pytest.mark.slow
def test_checkpoints_of_both_phases_are_read(tuned, capsys):
    """The first epoch's checkpoint knows nothing of what is thawed later."""
    epochs = {Checkpoints(tuned).info(kind)["position"]["epoch"] for kind in Checkpoints(tuned).kinds()}
    assert epochs == {1, 2}
    for kind in Checkpoints(tuned).kinds():
        assert main(["eval", str(tuned), "--checkpoint", kind]) == 0
    assert "digit 7" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(("stopped", "phase"), [(3, 0), (5, 1)])
def test_a_resumed_fine_tuning_is_bit_identical(tuned, tmp_path, monkeypatch, stopped, phase):
    """Three steps an epoch: stopped at the end of the first phase, and within the second; the start is gone then."""
    config = RunFolder.open(tuned).config().replace(out=str(tmp_path / "again"))
    stop, step = StopRequest(), Trainer._step

    def asked(self, batch):
        metrics = step(self, batch)
        if int(self.train_state.step) == stopped:
            stop.signal = 15
        return metrics

    monkeypatch.setattr(Trainer, "_step", asked)
    with pytest.raises(InterruptedRun):
        run.train(config, stop=stop)
    monkeypatch.undo()
    assert Checkpoints(tmp_path / "again").info("last").get("phase", 0) == phase
    gone = tmp_path / "again" / "config.json"
    gone.write_text(gone.read_text().replace(config.transfer.start, str(tmp_path / "gone")))
    run.resume(tmp_path / "again")
    whole, again = (Checkpoints(path).path(6).read_bytes() for path in (tuned, tmp_path / "again"))
    header = int.from_bytes(whole[:8], "little")
    other = int.from_bytes(again[:8], "little")
    assert whole[8 + header :] == again[8 + other :]


@pytest.mark.slow
def test_a_run_killed_before_its_first_step_has_its_start(pretrained, halves, tmp_path, monkeypatch):
    def die(self, stop):
        raise SystemExit(137)

    monkeypatch.setattr(Trainer, "run", die)
    flags = ["--data", str(halves["high"]), *QUIET, "--epochs", "1", "--freeze", "all-but-head"]
    with pytest.raises(SystemExit):
        main(["finetune", str(pretrained), *flags, "--out", str(tmp_path / "run")])
    monkeypatch.undo()
    saved, start = load_run(tmp_path / "run"), load_run(pretrained)
    assert np.array_equal(saved.params["conv2.weight"], start.params["conv2.weight"])
    run.resume(tmp_path / "run")
    assert np.array_equal(load_run(tmp_path / "run").params["fc1.weight"], start.params["fc1.weight"])


@pytest.mark.slow
def test_a_rate_is_found_and_drawn_and_no_run_is_made(pretrained, halves, tmp_path, capsys):
    weights = sorted(path.read_bytes() for path in (pretrained / "checkpoints").iterdir())
    picture = tmp_path / "rate.png"
    flags = ["--data", str(halves["high"]), *QUIET, "--find-rate", str(picture)]
    assert main(["finetune", str(pretrained), *flags]) == 0
    assert picture.read_bytes().startswith(b"\\x89PNG".decode("unicode_escape").encode("latin-1"))
    assert "suggested learning rate: " in capsys.readouterr().out
    assert os.listdir(tmp_path) == ["rate.png"]
    assert sorted(path.read_bytes() for path in (pretrained / "checkpoints").iterdir()) == weights


@pytest.mark.slow
def test_fit_starts_from_a_run(pretrained):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (30, 8, 8), np.uint8), np.arange(30) % 3
    options = {"epochs": 1, "batch_size": 15, "workers": 0, "validation_fraction": 0.0}
    fitted = flaxcnn.fit(images, labels, start=pretrained, freeze=["all-but-head"], **options)
    start = load_run(pretrained)
    for name in start.params.keys() - {"fc2.weight", "fc2.bias"}:
        assert np.array_equal(fitted.trained.params[name], start.params[name]), name
    assert fitted.probabilities(images[:4]).shape == (4, 3)
    np.testing.assert_array_equal(fitted.trained.normalisation[0], start.normalisation[0])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--freeze", "layer1"], "freeze holds the pattern 'layer1', which matches no parameter"),
        (["--freeze", "*"], "so that nothing would be trained"),
        (["--rates", "fc2:0.1"], "expected PATTERN=RATE"),
        (["--thaw", "soon:fc1"], "expected EPOCH:PATTERN"),
        (["--model", "resnet20"], "are of another architecture than resnet20"),
        (["--start-checkpoint", "best-9"], "There is no checkpoint 'best-9'"),
        (["--find-rate", "rate.jpg"], "ends in .png"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(pretrained, halves, tmp_path, capsys, flags, sentence):
    out = tmp_path / "run"
    assert (
        main(["finetune", str(pretrained), "--data", str(halves["high"]), *QUIET, *flags, "--out", str(out)])
        == 1
    )
    said = capsys.readouterr()
    assert sentence in said.err and said.err.startswith("flaxcnn: ") and said.err.count("\n") == 1
    assert not out.exists()


def test_a_fine_tuning_needs_images_and_weights(pretrained, halves, tmp_path, capsys):
    assert main(["finetune", str(pretrained)]) == 1
    assert "name them by --data" in capsys.readouterr().err
    assert main(["finetune", str(tmp_path / "w.safetensors"), "--data", str(halves["high"])]) == 1
    assert "There is no weights file" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="freeze holds the pattern 'layer1'"):
        flaxcnn.fit(np.zeros((90, 8, 8), np.uint8), np.arange(90) % 2, start=pretrained, freeze=["layer1"])
