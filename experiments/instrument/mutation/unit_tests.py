"""Tests the unit tests of flaxcnn: the tests of a source file are run with a mutant planted in that file.

    python -m experiments.instrument.mutation.unit_tests MUTANT TEST ...     exit 1 if a test turns red

The tests run in a process of their own, because shape checking is decided when flaxcnn and parity are imported.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from experiments.instrument.mutation.find import ROOT, Mutant, all_mutants
from experiments.instrument.mutation.plant import planted
from parity.errors import CannotCompare

PASSED, FAILED, NONE_FOUND = 0, 1, 5
# Source files without a test file of the same name, and the files that test them.
_ELSEWHERE = {
    "flaxcnn/ops/adaptive_pooling.py": ("ops/test_average_pooling.py",),
    "flaxcnn/ops/batch_normalisation_backward.py": ("ops/test_batch_normalisation.py",),
    "flaxcnn/ops/cpu/channel_sums.py": ("ops/test_batch_normalisation.py", "ops/cpu/test_fast_rules.py"),
    "flaxcnn/ops/cpu/plain_convolution.py": ("ops/test_convolution.py",),
    "flaxcnn/ops/precision.py": ("ops/test_average_pooling.py", "ops/test_batch_normalisation.py"),
    "flaxcnn/ops/cpu/taps.py": ("ops/test_average_pooling.py", "ops/test_max_pooling.py"),
    "flaxcnn/ops/dropout.py": ("ops/test_dropout.py",),
    "flaxcnn/models/layers.py": ("models/test_twins.py", "models/test_torchvision.py"),
    "flaxcnn/models/blocks.py": ("models/test_twins.py", "models/test_torchvision.py"),
    "flaxcnn/optim/rules.py": ("optim/test_optimisers.py",),
}
_FAST_RULES = ("ops/cpu/test_fast_rules.py",)


def tests_of(file: str) -> list[str]:
    """The test files of a source file, as paths from the repository's root."""
    path = Path(file)
    own = f"{path.relative_to('flaxcnn').parent}/test_{path.stem}.py"
    folder = Path("tests") / "flaxcnn"
    names = [own] if (ROOT / folder / own).exists() else []
    names += [name for name in _ELSEWHERE.get(file, () if names else _FAST_RULES) if name not in names]
    if "ops" in path.parts:
        names.append("ops/test_defaults.py")
    return [str(folder / name) for name in names]


def turns_red(mutant: Mutant) -> bool:
    """Whether a test of the mutant's file fails with the mutant planted; tests that are only drawn are left out.

    Raises:
        CannotCompare: the tests could not be run.
    """
    command = [
        sys.executable,
        "-m",
        "experiments.instrument.mutation.unit_tests",
        mutant.name,
        *tests_of(mutant.file),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (PASSED, FAILED):
        raise CannotCompare(
            f"The tests of {mutant.file} could not be run: {done.stdout[-500:]}{done.stderr[-500:]}"
        )
    return done.returncode == FAILED


class _Planting:
    """A plugin of pytest that plants a mutant once everything is imported and collected."""

    def __init__(self, mutant: Mutant) -> None:
        self.context = planted(mutant)

    def pytest_collection_finish(self, session: Any) -> None:
        """Plant the mutant."""
        del session
        self.context.__enter__()

    def pytest_sessionfinish(self, session: Any, exitstatus: Any) -> None:
        """Remove the mutant."""
        del session, exitstatus
        self.context.__exit__(None, None, None)


def main() -> int:
    """Run the named tests with the named mutant until one fails."""
    import pytest

    name, *files = sys.argv[1:]
    mutant = next(mutant for mutant in all_mutants() if mutant.name == name)
    always = ["-m", "not drawn and not exhaustive"]
    return int(pytest.main([*files, "-x", "-q", "-p", "no:cacheprovider", *always], [_Planting(mutant)]))


if __name__ == "__main__":
    sys.exit(main())
