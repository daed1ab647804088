"""The allowed imports: experiments -> parity -> flaxcnn, and no torch in flaxcnn."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def imported(path):
    """The top-level packages that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]


def files(package):
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths
    return paths


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("flaxcnn", {"torch", "torchvision", "parity", "experiments", "tests", "tensorflow"}),
        ("parity", {"experiments", "tests", "tensorflow"}),
    ],
)
def test_imports_go_one_way(package, forbidden):
    wrong = [(str(path), name) for path in files(package) for name in imported(path) if name in forbidden]
    assert wrong == []


WITHOUT_TORCH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "parity", "tensorflow_datasets"):
            raise ModuleNotFoundError(f"{name} is blocked by the test")

sys.meta_path.insert(0, Blocked())
from flaxcnn.cli import main
code = main(sys.argv[1:]) or main(["weights", sys.argv[-1], sys.argv[-1] + "/weights.safetensors"])
assert not {"torch", "torchvision", "parity"} & set(sys.modules)
sys.exit(code)
"""


@pytest.mark.slow
def test_the_core_trains_with_torch_absent(tmp_path):
    """A whole run, in a process in which torch, torchvision, parity and TFDS cannot be imported."""
    flags = ["--epochs", "1", "--model", "cnn", "--batch-size", "256", "--no-pictures"]
    options = ["--model-option", "channels=[2,2]", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "train", *flags, *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "summary.json").exists()
    assert (tmp_path / "run" / "weights.safetensors").exists()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["--version"], ["tain"], ["train", "--nope"]]
)
def test_help_and_usage_errors_import_nothing_heavy(arguments):
    """`--help` answers at once, because neither JAX nor NumPy nor any other slow package is imported."""
    code = (
        "import sys\nfrom flaxcnn.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'jax', 'numpy', 'flax', 'optax', 'rich', 'matplotlib', 'sklearn', 'grain', 'PIL', 'torch'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout or "usage:" in done.stderr
