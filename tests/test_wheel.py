"""The built wheel, installed in a fresh environment outside the checkout, runs every command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.exhaustive
ROOT = Path(__file__).parents[1]
TWINS = """
import torch
from flax import nnx

def torch_net():
    return torch.nn.Linear(3, 2)

def flax_net():
    return nnx.Linear(3, 2, rngs=nnx.Rngs(0))
"""


def run(folder, *command):
    """Run a command in a folder, without this process's import path; give what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with an environment in which the wheel and its extra [parity] are installed."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        folder, sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), str(ROOT)
    )
    (wheel,) = folder.glob("flaxcnn-*.whl")
    run(folder, sys.executable, "-m", "venv", "fresh")
    run(folder, "fresh/bin/python", "-m", "pip", "install", "-q", f"{wheel}[parity]")
    (folder / "twins.py").write_text(TWINS)
    return folder


def test_nothing_but_the_packages_is_installed(installed):
    code = "import flaxcnn, parity, importlib.util as u; print(flaxcnn.__file__, u.find_spec('experiments'))"
    where, experiments = run(installed, "fresh/bin/python", "-c", code).split()
    assert Path(where).is_relative_to(installed)
    assert experiments == "None"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("flaxcnn", "train", "--model", "cnn", "--epochs", "1", "--out", "run"), "test"),
        (
            ("parity", "check", "--torch", "twins:torch_net", "--flax", "twins:flax_net", "--input", "4x3"),
            "EQUIVALENT",
        ),
        (("parity", "suite", "quick"), " equivalent, in "),
        (("parity", "explain", "bn-momentum-complement"), "momentum"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else None,
)
def test_every_command_runs(installed, command, expected):
    program, *arguments = command
    assert expected in run(installed, f"fresh/bin/{program}", *arguments)
