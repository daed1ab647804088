"""What answers at once imports nothing but Python's own library."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "code",
    [
        "import flaxcnn",
        "import flaxcnn.train, flaxcnn.config, flaxcnn.cli",
        "from flaxcnn.cli.main import parser; parser().format_help()",
    ],
)
def test_only_the_standard_library_is_imported(code):
    """No clock: half a second for `--help` is kept where neither JAX nor NumPy nor Flax is imported."""
    # What the interpreter's own start brings along (.pth files) does not count.
    program = (
        "import sys\nbefore = set(sys.modules)\n" + code + "\n"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(loaded - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["flaxcnn"]
