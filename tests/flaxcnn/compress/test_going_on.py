"""An interrupted compression goes on, and ends as one that never was."""

import json
import os
import signal

import pytest

from flaxcnn.cli.main import main
from flaxcnn.train.loop import Trainer

from .runs import trained, written

__all__ = ["trained"]

STEPS = [
    {"step": "shrink", "ratio": 0.3},
    {"step": "prune", "sparsity": 0.5, "epochs": 2, "learning_rate": 0.02},
    {"step": "factorise", "rank": 2, "layers": "conv2"},
    {"step": "train", "epochs": 2, "learning_rate": 0.02},
    {"step": "quantise"},
]


class Killed(BaseException):
    """Ends everything at once, and is caught by nobody."""


def _arguments(run, recipe, out):
    return ["compress", str(run), "--recipe", recipe, "--out", str(out), "--repeats", "0"]


def _content(out):
    """All that does not depend on the time or the place."""
    files = {path.name: path.read_bytes() for path in (out / "checkpoints").glob("*.safetensors")}
    table = json.loads((out / "compress.json").read_text())
    history = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for record in history:
        record.pop("seconds"), record.pop("images_per_second")
    return {
        "weights": (out / "compressed.safetensors.xz").read_bytes(),
        "arrays": {name: content[content.index(b"}}") :] for name, content in files.items()},
        "architecture": (out / "architecture.json").read_text(),
        "figures": [table["before"], table["after"]],
        "history": history,
    }


@pytest.fixture(scope="module")
def whole(trained, tmp_path_factory):
    """Compressed without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    assert main(_arguments(trained / "run", written(folder, STEPS), folder / "out")) == 0
    return _content(folder / "out")


@pytest.mark.slow
@pytest.mark.parametrize("step", [7, pytest.param(14, marks=pytest.mark.drawn)])
def test_what_goes_on_after_ctrl_c_ends_the_same(trained, whole, tmp_path, capsys, monkeypatch, step):
    """Five batches an epoch: in the second epoch of the pruning, and in the first of the other training."""
    made, original = [], Trainer._step

    def interrupted(self, batch):
        made.append(None)
        if len(made) == step:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch)

    arguments = _arguments(trained / "run", written(tmp_path, STEPS), tmp_path / "out")
    monkeypatch.setattr(Trainer, "_step", interrupted)
    assert main(arguments) == 130
    assert "give the same command again" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(arguments) == 0
    assert f"going on after step {1 if step < 11 else 3} of 5" in capsys.readouterr().out
    # One batch may be made again: no finished step is, and no finished batch.
    assert len(made) == 4 * 5
    assert _content(tmp_path / "out") == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "recipe.json"]


@pytest.mark.slow
def test_what_goes_on_after_a_kill_ends_the_same(trained, whole, tmp_path, monkeypatch, capsys):
    """Killed in a training, while a step is kept, and while the result is written."""
    arguments = _arguments(trained / "run", written(tmp_path, STEPS), tmp_path / "out")

    def killed(*given, **options):
        raise Killed

    for place in (
        "flaxcnn.train.loop.Trainer._finish_epoch",
        "flaxcnn.compress.kept.Checkpoints.save",
        "flaxcnn.compress.kept.shutil.rmtree",
        "flaxcnn.compress.compression.figures",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, killed)
            with pytest.raises(Killed):
                main(arguments)
        assert not (tmp_path / "out").exists()
    assert main(arguments) == 0
    assert _content(tmp_path / "out") == whole


@pytest.mark.slow
def test_another_recipe_does_not_go_on(trained, tmp_path, monkeypatch, capsys):
    arguments = _arguments(trained / "run", written(tmp_path, STEPS[:1]), tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("flaxcnn.compress.compression.figures", lambda *given: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            main(arguments)
    written(tmp_path, [{"step": "shrink", "ratio": 0.4}])
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert "an interrupted compression of another network or by another recipe" in told
    assert told.count("\n") == 1
    written(tmp_path, STEPS[:1])
    assert main(arguments) == 0
