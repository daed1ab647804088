"""The record of a pair of training runs: the differences of every step, and the verdict on them."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from parity.files import from_plain, read_json, to_plain, write_json
from parity.verdict.policy import Policy, allowed_gap
from parity.verdict.record import Cause, Note, Unexercised, Verdict

TRAJECTORY_VERSION = 1
TRAJECTORY_FILE = "trajectory.json"

# In the order of a step: the loss, the state that the forward pass leaves, the gradient, the update.
StepPhase = Literal["forward", "state", "backward", "update"]
PHASES: tuple[StepPhase, ...] = ("forward", "state", "backward", "update")


@dataclasses.dataclass(frozen=True)
class Difference:
    """How one tensor of one step differs; see `parity.verdict.record.Metrics` for the terms.

    `gap_max` = max |a64 - b64|, `rounding_*` = max |x32 - x64| of each side, `scale` = max |b64|.
    """

    scale: float
    gap_max: float
    rounding_torch: float
    rounding_flax: float
    precision: str = "float64"

    @staticmethod
    def of(torch32: np.ndarray, torch64: np.ndarray, flax32: np.ndarray, flax64: np.ndarray) -> "Difference":
        """Measure four arrays of one shape."""
        return Difference(
            scale=_largest(torch64),
            gap_max=_largest(flax64 - torch64),
            rounding_torch=_largest(torch32 - torch64),
            rounding_flax=_largest(flax32 - flax64),
        )

    def ratio(self, policy: Policy) -> float:
        """The gap over the gap that rounding allows; above 1 rounding does not explain it."""
        allowed = allowed_gap(self, policy)
        if allowed == 0.0:
            return 0.0 if self.gap_max == 0.0 else float("inf")
        return self.gap_max / allowed


def _largest(array: np.ndarray | np.generic) -> float:
    return float(np.max(np.abs(array), initial=0.0))


@dataclasses.dataclass(frozen=True)
class StepTensor:
    """One tensor of one step, and its difference."""

    phase: StepPhase
    layer: str
    quantity: str
    difference: Difference


@dataclasses.dataclass(frozen=True)
class FourRuns:
    """One number of each of the four runs."""

    torch32: float
    torch64: float
    flax32: float
    flax64: float


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of training.

    Attributes:
        number: from 0.
        learning_rate: PyTorch's, of the first parameter group.
        loss, gradient_norm: of the four free runs.
        worst: of each phase the tensor whose gap is largest relative to the gap that rounding allows. The gap comes
            from this step alone: Flax starts the step from PyTorch's weights and statistics, and its update from
            PyTorch's gradients.
        distance32, distance64: |a - b| / |b| over all trained parameters together after the step, of the free
            runs in float32 and in float64 (Euclidean norm).
        rounding: the larger of |x32 - x64| / |x64| of the two sides, likewise.
    """

    number: int
    learning_rate: float
    loss: FourRuns
    gradient_norm: FourRuns
    worst: tuple[StepTensor, ...]
    distance32: float
    distance64: float
    rounding: float


@dataclasses.dataclass(frozen=True)
class StepDivergence:
    """The first step at which the Flax side diverges, with the layer, phase and tensor."""

    step: int
    layer: str
    phase: StepPhase
    quantity: str

    def sentence(self) -> str:
        """The divergence in words."""
        return f"step {self.step}, {self.layer}, {self.phase}, {self.quantity}"


@dataclasses.dataclass(frozen=True)
class Growth:
    """The growth of the distance of two runs: by the factor exp(rate) a step.

    `rate` is the slope of ln(distance) by least squares; NaN if it has fewer than 5 steps. It is fitted to `steps` of
    the steps: those whose distance is not zero, and below a tenth of the largest where that exceeds 1 %.
    """

    rate: float
    steps: int


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """The verdict on two training runs and its evidence.

    `margin` is how many times larger the worst gap of a single step could be. `growth32` and `growth64` are those of
    the free runs. `parted32` is the first step at which the losses of the float32 runs differ by more than 1 %, or
    None.
    """

    version: int
    verdict: Verdict
    divergence: StepDivergence | None
    causes: tuple[Cause, ...]
    steps: tuple[Step, ...]
    growth32: Growth
    growth64: Growth
    parted32: int | None
    free_ratio: float
    margin: float
    unexercised: tuple[Unexercised, ...]
    notes: tuple[Note, ...]
    environment: dict[str, str]
    policy: dict[str, float]

    def summary(self) -> str:
        """One sentence: the verdict and its reason."""
        if self.verdict == "divergent":
            assert self.divergence is not None
            return f"divergent: first at {self.divergence.sentence()}"
        if self.verdict == "inconclusive":
            return f"inconclusive: {len(self.unexercised)} parameters were not exercised"
        last = self.steps[-1]
        return (
            f"equivalent: {len(self.steps)} steps without a difference of meaning, smallest safety margin "
            f"{self.margin:.3g}x; after them the runs are {last.distance64:.1e} apart in float64 and "
            f"{last.distance32:.1e} in float32"
        )

    def save(self, directory: Path) -> Path:
        """Write `trajectory.json` into `directory`."""
        path = directory / TRAJECTORY_FILE
        write_json(path, to_plain(self))
        return path

    @staticmethod
    def load(directory: Path) -> "Trajectory":
        """Read what `save` wrote.

        Raises:
            TraceError: the file is missing or damaged.
        """
        return from_plain(Trajectory, read_json(directory / TRAJECTORY_FILE))
