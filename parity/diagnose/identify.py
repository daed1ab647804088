"""Find the conventions by which each side computed its recorded tensors.

A *problem* is a family of float64 functions: convolutions, say, or the connections between two layers. A *setting*
holds the conventions of one function of the family: padding, stride, dilation and the reading of the kernel, or the
activation, the pooling and the flatten order. `identify` first searches for a setting that reproduces PyTorch's
recorded tensor from PyTorch's recorded inputs. It then searches for the nearest setting (no change, one, two) that
reproduces Flax's. A setting reproduces a tensor if the gap is within the judge's bound: the float64 rounding that the
measured float32 rounding predicts.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from parity.verdict.policy import Policy, explained

# The search for Flax's setting starts from so many settings that reproduce PyTorch's tensor. Several may (a ReLU6 is a
# ReLU on values below 6), and the nearest pair has the fewest differences.
MOST_ALIKE = 6
# After the first setting that reproduces PyTorch's tensor, so many more are tried.
MORE_EVALUATIONS = 200
# The search ends after so many evaluations; the difference is then unexplained.
MOST_EVALUATIONS = 6000


@dataclasses.dataclass(frozen=True)
class Side:
    """The recorded inputs and target of one side, in float64 and PyTorch's layout, and the bound of rounding.

    `bound` is the largest |candidate - target| that float64 rounding explains.
    """

    inputs: tuple[torch.Tensor, ...]
    target: torch.Tensor
    bound: float

    @property
    def shape(self) -> tuple[int, ...]:
        """The target's shape."""
        return tuple(self.target.shape)

    def first_example(self) -> "Side":
        """The side of the first example of the batch, on which a setting is tried at low cost."""
        return Side(tuple(x[:1] for x in self.inputs), self.target[:1], self.bound)

    def reproduced_by(self, value: torch.Tensor | None) -> bool:
        """Whether a candidate is the target to float64 rounding."""
        if value is None or value.shape != self.target.shape:
            return False
        gap = (value - self.target).abs()
        # A comparison with NaN is false, so a candidate that is not finite reproduces nothing.
        return bool(gap.numel() == 0 or gap.max() <= self.bound)


def rounding_bound(array32: np.ndarray, array64: np.ndarray, policy: Policy) -> float:
    """The largest gap that float64 rounding explains, by the rule of `parity.verdict.policy` for one side."""
    float64 = np.asarray(array64, np.float64)
    scale = float(np.max(np.abs(float64), initial=0.0))
    rounding = float(np.max(np.abs(np.asarray(array32, np.float64) - float64), initial=0.0))
    return explained(rounding, scale, policy)


@dataclasses.dataclass(frozen=True)
class Difference:
    """One convention in which the sides differ; `id` is None if the catalogue has no name for it."""

    id: str | None
    torch: str
    flax: str
    fix: str


@runtime_checkable
class Problem(Protocol):
    """A family of functions; each implementation defines its settings as a named tuple."""

    per_example: bool

    def starts(self) -> Iterable[Any]:
        """Settings that PyTorch may follow, the likeliest first."""
        ...

    def changes(self, setting: Any) -> Iterable[Any]:
        """Settings that differ from this one in one convention."""
        ...

    def evaluate(self, setting: Any, side: Side) -> torch.Tensor | None:
        """The result of the setting on the side's inputs, or None if the setting does not apply."""
        ...

    def differences(self, torch_setting: Any, flax_setting: Any) -> list[Difference]:
        """PyTorch's and Flax's settings in words."""
        ...


@dataclasses.dataclass(frozen=True)
class Identified:
    """The settings of the two sides; `flax` is None if no setting near PyTorch's reproduces Flax's tensor."""

    torch: Any
    flax: Any


class _Search:
    """One search, which counts evaluations and tries each setting on one example before the whole batch."""

    def __init__(self, problem: Problem, evaluations: int = MOST_EVALUATIONS) -> None:
        self.problem = problem
        self.left = evaluations

    def tester(self, side: Side) -> Callable[[Any], bool]:
        """A predicate: whether a setting reproduces this side."""
        several = side.target.ndim > 0 and len(side.target) > 1
        small = side.first_example() if self.problem.per_example and several else None

        def reproduces(setting: Any) -> bool:
            self.left -= 1
            if small is not None and not small.reproduced_by(self._value(setting, small)):
                return False
            return side.reproduced_by(self._value(setting, side))

        return reproduces

    def _value(self, setting: Any, side: Side) -> torch.Tensor | None:
        try:
            with torch.no_grad():
                return self.problem.evaluate(setting, side)
        except (RuntimeError, ValueError, IndexError):
            return None  # the setting does not fit the shapes

    def within_budget(self, settings: Iterable[Any]) -> Iterator[Any]:
        """The settings, as long as evaluations are left."""
        return itertools.takewhile(lambda _: self.left > 0, settings)


def reproducing(
    problem: Problem, side: Side, most: int = MOST_ALIKE, evaluations: int = MOST_EVALUATIONS
) -> list[Any]:
    """The first few of the problem's starting settings that reproduce a side."""
    search = _Search(problem, evaluations)
    reproduces, alike = search.tester(side), []
    for setting in search.within_budget(problem.starts()):
        if reproduces(setting):
            alike.append(setting)
            search.left = min(search.left, MORE_EVALUATIONS)
        if len(alike) == most:
            break
    return alike


def identify(problem: Problem, torch_side: Side, flax_side: Side) -> Identified | None:
    """The nearest settings of the two sides; None if no setting reproduces PyTorch's tensor.

    Two simultaneous causes are found as two changes from PyTorch's setting.
    """
    torch_settings = reproducing(problem, torch_side)
    if not torch_settings:
        return None
    pair = nearest(problem, torch_settings, flax_side, range(3))
    return Identified(torch_settings[0], None) if pair is None else Identified(*pair)


def nearest(
    problem: Problem, settings: list[Any], side: Side, distances: Iterable[int]
) -> tuple[Any, Any] | None:
    """A setting and the nearest to it that reproduces a side, at one of these numbers of changes; None if none does."""
    search = _Search(problem)
    reproduces = search.tester(side)
    for distance in distances:
        for setting in settings:
            for candidate in search.within_budget(_ring(problem, setting, distance)):
                if reproduces(candidate):
                    return setting, candidate
    return None


def _ring(problem: Problem, setting: Any, distance: int) -> Iterator[Any]:
    """The settings at exactly this many changes, each once."""
    if distance == 0:
        yield setting
        return
    seen = {setting}
    neighbours = []
    for neighbour in problem.changes(setting):
        if neighbour not in seen:
            seen.add(neighbour)
            neighbours.append(neighbour)
    if distance == 1:
        yield from neighbours
        return
    for neighbour in neighbours:
        for candidate in problem.changes(neighbour):
            if candidate not in seen:
                seen.add(candidate)
                yield candidate
