"""One case of a suite, a PyTorch computation and its Flax twin, and the outcome of comparing them."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from parity.comparison.direct import Compared
from parity.verdict.record import Mode

# "refused": the two could not be compared, or one of them could not be built.
Result = Literal["equivalent", "divergent", "inconclusive", "refused"]


class Pair(NamedTuple):
    """PyTorch's model, Flax's, and the inputs of both: a shape or arrays, in PyTorch's layout.

    `probes` is False where the two agree on these inputs by design, and not in general.
    """

    torch: Any
    flax: Any
    inputs: str | list[np.ndarray]
    probes: bool = True


@dataclasses.dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: unique among all cases.
        suite, group: that it belongs to; both select it on the command line, as its name does.
        quick: whether it is among the few that `quick` selects.
        mode: "train", "eval" or "both".
        build: makes the two models and their input, or the tensors that both sides computed; the same in
            every run.
        detail: its options in words, "" if the name says it all.
    """

    name: str
    suite: str
    group: str
    quick: bool
    mode: str
    build: Callable[[], Pair | list[Compared]]
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class ModeOutcome:
    """The figures of one mode of a case.

    Attributes:
        mode: "train" or "eval".
        layers: calls of layers that were compared.
        tensors: tensors that were compared, each alone: inputs, outputs, cotangents, gradients, state.
        gap: the largest semantic gap |a64 - b64| that one layer introduces, relative to the largest value of
            its tensor; tensors that are zero but for rounding have no scale and are left out.
        output_gap: the gap of the model's output, when all its layers run together.
        margin: how many times larger the worst gap could be before the verdict changed; infinite if all are zero.
    """

    mode: Mode
    layers: int
    tensors: int
    gap: float
    output_gap: float
    margin: float


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a case. `sentence` gives the reason or the first divergence if it is not "equivalent"."""

    name: str
    suite: str
    group: str
    detail: str
    result: Result
    sentence: str
    seconds: float
    modes: tuple[ModeOutcome, ...]

    @property
    def gap(self) -> float:
        """The largest semantic gap of all modes."""
        return max((mode.gap for mode in self.modes), default=0.0)

    @property
    def margin(self) -> float:
        """The smallest safety margin of all modes."""
        return min((mode.margin for mode in self.modes), default=float("inf"))
