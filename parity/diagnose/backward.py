"""What makes a gradient differ: a forward difference that reaches it, or a derivative of its own.

Between the layers Flax's cotangent of a tensor is the sum of what the connection that consumes it sends back. With
the expression of each piece of connection at hand, PyTorch's and Flax's contributions are differentiated in float64;
the recorded gap between the cotangents must be the sum of their differences.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
import torch

from parity.diagnose.evidence import Evidence, Place, tensor
from parity.diagnose.families.activation import AT_ZERO, RELU
from parity.diagnose.families.connections import ConnectionSetting
from parity.diagnose.families.normalisation import NormalisationSetting
from parity.diagnose.identify import Difference, Identified, reproducing
from parity.diagnose.layers import Solved, gradients_of, gradients_that_differ, near
from parity.diagnose.segments import Segment, Source, segment_to

_STOPPED = "jax.lax.stop_gradient must not lie on this path"
_RIGHT_TIE = {
    True: "use jax.nn.relu, whose derivative at zero is 0",
    False: "use jnp.where(x > 0, x, slope * x): at zero PyTorch has the slope, jax.nn.leaky_relu has 1",
}
_TIES = {0.5: "1/2", 1.0: "1"}


# A tensor is consumed within so many paired calls, and the search for how ends after so many evaluations.
_NEAR, _FEW = 10, 800
_Solution = tuple[Segment, Identified]


@dataclasses.dataclass(frozen=True)
class Cause:
    """A difference of derivatives, and the segment or layer that has it."""

    where: str
    difference: Difference


class Flow:
    """The connection of one mode, solved where a gradient asks for it."""

    def __init__(
        self, evidence: Evidence, solved: dict[tuple[str, str, int], tuple[Segment, Identified | None]]
    ) -> None:
        """`solved`: the segments whose forward difference was searched, by (call, what, index)."""
        self.evidence = evidence
        self.solved = solved
        self.right: dict[tuple[str, int], list[_Solution]] = {}

    @functools.cached_property
    def different(self) -> list[_Solution]:
        """The segments that differ forward, with both expressions."""
        return [
            (segment, identified)
            for segment, identified in self.solved.values()
            if identified is not None and identified.flax is not None
        ]

    def alike(self, source: Source) -> list[_Solution]:
        """The segments that may consume a tensor and are right forward: one expression stands for both sides."""
        assert source.place is not None
        first = -1 if source.place.role == "output" else source.place.position
        near = [p for p in self.evidence.places if p.position > first and not p.loose][:_NEAR]
        found = []
        for place in near:
            what = "input" if place.role == "layer" else "output"
            for index in range(place.torch.inputs if what == "input" else place.torch.outputs):
                if (place.torch.key, what, index) not in self.solved:
                    found += self._searched(place, index)
        return found

    def _searched(self, place: Place, index: int) -> list[_Solution]:
        key = (place.torch.key, index)
        if key not in self.right:
            segment = segment_to(self.evidence, place, index)
            alike = (
                [] if segment is None else reproducing(segment.problem, segment.sides[0], evaluations=_FEW)
            )
            self.right[key] = [] if segment is None else [(segment, Identified(s, s)) for s in alike]
        return self.right[key]

    def explain(self, source: Source, gap: np.ndarray, bound: float) -> list[Cause]:
        """The causes whose contributions add up to the gap Flax - PyTorch of the cotangent of a source."""
        predicted, causes = np.zeros_like(gap), []
        for segment, solution in self.different:
            parts = [
                self._sent(segment, setting, side, source, None)
                for side, setting in enumerate((solution.torch, solution.flax))
            ]
            if parts[0] is None or parts[1] is None:
                continue
            predicted = predicted + parts[1] - parts[0]
            if np.any(parts[0]) or np.any(parts[1]):
                causes += self.named(segment, solution)
        rest = gap - predicted
        if np.max(np.abs(rest), initial=0.0) <= bound:
            return list(dict.fromkeys(causes))
        for segment, solution in [*self.different, *self.alike(source)]:
            for changed, difference in _variants(solution.flax):
                parts = [self._sent(segment, s, 1, source, None) for s in (solution.flax, changed)]
                if parts[0] is None or parts[1] is None:
                    continue
                if np.max(np.abs(rest - parts[1] + parts[0]), initial=0.0) <= bound:
                    return [*causes, Cause(entry_of(self.evidence, segment.place), difference)]
        return []

    def named(self, segment: Segment, solution: Identified) -> list[Cause]:
        """The differences of a segment; where it has none of its own, of the connection whose results it uses."""
        own = segment.problem.differences(solution.torch, solution.flax)
        if own:
            return [Cause(segment.place.before, difference) for difference in own]
        found = []
        for position in solution.torch.sources:
            inner = self._before(segment.sources[position])
            if inner is not None:
                found += self.named(*inner)
        return found

    def _before(self, source: Source) -> _Solution | None:
        """The connection that computed a tensor which a later segment uses again."""
        if source.arrival is None:
            return None
        key = (source.arrival.torch.key, "input", source.index)
        if key in self.solved:
            segment, identified = self.solved[key]
            return None if identified is None or identified.flax is None else (segment, identified)
        found = self._searched(source.arrival, source.index)
        return found[0] if found else None

    def _sent(
        self,
        segment: Segment,
        setting: ConnectionSetting,
        side: int,
        source: Source,
        cotangent: torch.Tensor | None,
    ) -> np.ndarray | None:
        """What a segment sends back to a source, directly and through connection whose result it uses again."""
        if cotangent is None:
            given = self.evidence.value("torch", segment.place, f"{segment.what}_cotangent", segment.index)
            if given is None:
                return None
            cotangent = tensor(given)
        used = sorted(set(setting.sources))
        one = segment.sides[side]
        inputs = [x.detach() for x in one.inputs]
        for position in used:
            inputs[position] = inputs[position].clone().requires_grad_()
        y = segment.problem.evaluate(setting, dataclasses.replace(one, inputs=tuple(inputs)))
        if y is None or y.shape != cotangent.shape:
            return None
        total = np.zeros(self._shape(source))
        if not y.requires_grad:
            return total
        gradients = torch.autograd.grad(y, [inputs[p] for p in used], cotangent, allow_unused=True)
        for position, found in zip(used, gradients, strict=True):
            if found is None:
                continue
            other, gradient = segment.sources[position], found
            if other.scaled is not None:
                other, gradient = other.scaled[0], found * tensor(other.scaled[1])
            if _same(other, source):
                total = total + gradient.numpy()
            elif (inner := self._before(other)) is not None:
                settings = inner[1].torch, inner[1].flax
                part = self._sent(inner[0], settings[side], side, source, gradient.detach())
                total = total if part is None else total + part
        return total

    def _shape(self, source: Source) -> tuple[int, ...]:
        assert source.place is not None
        what = "input" if source.place.role == "output" else "output"
        value = self.evidence.value("torch", source.place, what, source.index)
        return () if value is None else value.shape


def entry_of(evidence: Evidence, place: Place) -> str:
    """The name of the segment before a place."""
    return evidence.segment_of(place)


def _same(a: Source, b: Source) -> bool:
    return (
        a.place is not None
        and b.place is not None
        and (a.place.torch.key, a.index)
        == (
            b.place.torch.key,
            b.index,
        )
    )


def _variants(setting: ConnectionSetting) -> Iterator[tuple[ConnectionSetting, Difference]]:
    """The same connection with another derivative."""
    used = [name for name in (*setting.inner, setting.outer, setting.late) if name in AT_ZERO]
    for tie in _TIES if used else ():
        words = f"derivative of {used[0]} at zero: {AT_ZERO[used[0]]:g}", f"derivative at zero: {_TIES[tie]}"
        yield setting._replace(tie=tie), Difference("relu-tie-gradient", *words, _RIGHT_TIE[used[0] == RELU])
    words = "the gradient passes", "no gradient passes (the branch is detached)"
    for chosen in [(source,) for source in setting.sources] + [setting.sources]:
        yield (
            setting._replace(stopped=tuple(dict.fromkeys((*setting.stopped, *chosen)))),
            Difference("gradient-stopped", *words, _STOPPED),
        )


def stopped(name: str) -> Difference:
    """A gradient that is zero in Flax and not in PyTorch."""
    return Difference("gradient-stopped", f"{name} is not zero", f"{name} is zero everywhere", _STOPPED)


def explain_layer_backward(
    evidence: Evidence, place: Place, solve: Callable[[], Solved | None]
) -> Iterator[tuple[str, list[Difference]]]:
    """The divergent gradients of a layer whose output is right: (quantity, its causes)."""
    quantities = list(gradients_that_differ(evidence, place))
    if not quantities:
        return
    variant = _detached(evidence, place, solve())
    for name, key, ours, theirs, bound in quantities:
        if np.any(ours) and not np.any(theirs):
            yield name, [stopped(name)]
        elif variant is not None and near(variant.get(key), theirs, bound):
            words = "differentiates the statistics", "holds the statistics constant"
            yield name, [Difference("gradient-stopped", *words, _STOPPED)]
        else:
            yield name, []


def _detached(evidence: Evidence, place: Place, solved: Solved | None) -> dict[str, torch.Tensor] | None:
    """The gradients of a norm whose statistics are constants."""
    cotangent = evidence.value("torch", place, "output_cotangent")
    if solved is None or solved.identified is None or cotangent is None:
        return None
    setting = solved.identified.torch
    if not isinstance(setting, NormalisationSetting):
        return None
    return gradients_of(solved, setting._replace(detached=True), tensor(cotangent))
