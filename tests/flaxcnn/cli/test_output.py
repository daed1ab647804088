"""What is printed is what was meant: names as they are, in any encoding, and suggestions for a mistyped word."""

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from flaxcnn.cli import main
from flaxcnn.cli.output import printable
from flaxcnn.config import Config
from flaxcnn.train.run import train

# Markup, the code of an emoji, a script that ASCII lacks, and a byte that is no UTF-8.
NAMES = ["[red]apple", ":cat:", "リンゴ", "pl\udcffum"]
TINY = [
    "--model",
    "cnn",
    "--model-options",
    "channels=[2,2]",
    "--epochs",
    "1",
    "--batch-size",
    "8",
    "--no-tensorboard",
]


@pytest.fixture(scope="module")
def fruit(tmp_path_factory):
    """Folders of small random images, whose names a terminal may stumble over."""
    root = tmp_path_factory.mktemp("[b]fruit")
    draw = np.random.default_rng(0)
    for name in NAMES:
        (root / name).mkdir()
        for number in range(10):
            Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def run(fruit, tmp_path_factory):
    """A run on them, with its pictures."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "--data", f"folder:{fruit}", *TINY, "--out", str(out)]) == 0
    return out


def printed(capsys, *arguments):
    capsys.readouterr()
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_names_are_printed_as_they_are(fruit, run, capsys):
    for arguments in (
        ("eval", str(run)),
        ("predict", "--run", str(run), "--top", "4", str(fruit / NAMES[0] / "0.png")),
        ("data", "show", f"folder:{fruit}"),
    ):
        out = printed(capsys, *arguments)
        assert all(name in out for name in NAMES[:3]), out
        assert r"pl\udcffum" in out or r"pl\xffum" in out
    assert "[u]w.safetensors" in printed(capsys, "weights", str(run), str(run / "[u]w.safetensors"))


def test_training_prints_the_data_as_it_is_on_any_console(fruit, tmp_path):
    taken = io.StringIO()
    config = Config().replace(
        data=f"folder:{fruit}",
        model="cnn",
        model_options={"channels": [2, 2]},
        epochs=1,
        batch_size=8,
        tensorboard=False,
        pictures=False,
        out=str(tmp_path / "run"),
    )
    train(config, console=Console(file=taken, width=200))
    assert f"parameters on folder:{fruit}: " in taken.getvalue()


def test_an_ascii_output_gets_stand_ins(fruit, run, monkeypatch):
    for arguments in (
        ["eval", str(run)],
        ["eval", str(run), "--json"],
        ["predict", "--run", str(run), "--json", "--top", "4", str(fruit / NAMES[0] / "0.png")],
        ["data", "show", f"folder:{fruit}"],
        ["data", "list"],
        ["models", "cnn"],
        ["recipes"],
    ):
        taken = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict", write_through=True)
        monkeypatch.setattr(sys, "stdout", taken)
        assert main(arguments) == 0
        out = taken.buffer.getvalue().decode("ascii")
        assert taken.errors == "strict"  # as it was
        if "--json" in arguments:
            answer = json.loads(out)
            names = (
                answer["per_class_accuracy"]
                if arguments[0] == "eval"
                else [c["class"] for c in answer[0]["classes"]]
            )
            assert set(names) == set(NAMES)
        elif str(run) in arguments:
            assert r"\u30ea\u30f3\u30b4" in out


def test_marks_keep_their_width_and_astral_characters_are_json():
    taken = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    old, sys.stdout = sys.stdout, taken
    try:
        with printable():
            print('✓ ≈ "😀"')
    finally:
        sys.stdout = old
    taken.flush()
    out = taken.buffer.getvalue().decode("ascii")
    assert out[:4] == "+ ~ "
    assert json.loads(out[4:]) == "😀"


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["train", "--optimizer", "adam"], "did you mean --optimiser"),
        (["train", "--lerning-rate=1"], "did you mean --learning-rate"),
        (["eval", "run", "--splitt", "test"], "did you mean --split"),
        (["train", "--zzz"], "unrecognized arguments: --zzz\n"),
    ],
)
def test_a_mistyped_flag_is_named_with_the_nearest(arguments, meant, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert meant in capsys.readouterr().err
