"""The tests of our own functions put to the test: those that mirror a file are run with a mutant planted in it.

    python -m experiments.instrument.mutation.unit_tests MUTANT TEST ...     exit 1 if a test turns red

In a process of their own: the tests check shapes at every call, which is decided when our packages are imported.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from experiments.instrument.mutation.find import ROOT, Mutant, all_mutants
from experiments.instrument.mutation.plant import planted
from parity.errors import CannotCompare

PASSED, FAILED, NONE_FOUND = 0, 1, 5
# Rules that have no file of tests to themselves, and the files that test them.
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
    """The files of tests that mirror a source file, from the repository's root."""
    path = Path(file)
    own = f"{path.relative_to('flaxcnn').parent}/test_{path.stem}.py"
    folder = Path("tests") / "flaxcnn"
    found = [own] if (ROOT / folder / own).exists() else []
    found += [name for name in _ELSEWHERE.get(file, () if found else _FAST_RULES) if name not in found]
    if "ops" in path.parts:
        found.append("ops/test_defaults.py")
    return [str(folder / name) for name in found]


def turns_red(mutant: Mutant) -> bool:
    """Whether a test that mirrors the mutant's file fails with the mutant planted; what is only drawn is left out.

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
        """Plant it."""
        del session
        self.context.__enter__()

    def pytest_sessionfinish(self, session: Any, exitstatus: Any) -> None:
        """Take it out."""
        del session, exitstatus
        self.context.__exit__(None, None, None)


def main() -> int:
    """Run the tests that are named, with the mutant that is named, until one fails."""
    import pytest

    name, *files = sys.argv[1:]
    mutant = next(one for one in all_mutants() if one.name == name)
    always = ["-m", "not drawn and not exhaustive"]
    return int(pytest.main([*files, "-x", "-q", "-p", "no:cacheprovider", *always], [_Planting(mutant)]))


if __name__ == "__main__":
    sys.exit(main())
