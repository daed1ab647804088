"""`parity train`: a verdict, files, exit codes, and one sentence for what cannot be done."""

import json

import pytest

from parity.cli import main

HOSTS = [
    "--torch",
    "experiments.instrument.trajectories.hosts:TorchHost",
    "--flax",
    "experiments.instrument.trajectories.hosts:FlaxHost",
]


def test_equivalent_twins_exit_with_0_and_leave_their_trajectory(tmp_path, capsys):
    code = main(
        [
            "train",
            *HOSTS,
            "--steps",
            "3",
            "--batch-size",
            "8",
            "--option",
            "momentum=0.9",
            "--out",
            str(tmp_path),
        ]
    )
    text = capsys.readouterr().out
    assert code == 0
    assert text.startswith("equivalent: 3 steps")
    assert json.loads((tmp_path / "trajectory.json").read_text())["verdict"] == "equivalent"
    assert (tmp_path / "trajectory.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--optimiser", "adagrad"], "flaxcnn.optim has no optimiser 'adagrad'"),
        (["--optimiser", "sdg"], "it has sgd, adam, adamw, rmsprop"),
        (["--schedule", "cosinus"], "The schedule 'cosinus' is unknown"),
        (["--steps", "0"], "give at least 1 step"),
        (["--option", "momentum"], "--option momentum is not KEY=VALUE"),
        (["--option", "momentum=-1"], "refuses sgd with"),
        (["--data", "nothing"], "--data nothing"),
        (["--batch-size", "5000"], "less than one batch of 5000"),
        (["--torch-optimiser", "os:getcwd"], "--torch-optimiser was given alone"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments, sentence, capsys):
    assert main(["train", *HOSTS, *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
