"""The causes of a gradient that differs: a forward difference that reaches it, or a derivative of its own.

The cotangent of a tensor between layers is the sum of the contributions of the connections that consume the tensor.
With the expression of each connection known, PyTorch's and Flax's contributions are differentiated in float64. The
causes are right if the recorded gap between the cotangents is the sum of the differences of the contributions.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
import torch

from parity.diagnose.evidence import Evidence, PairedCall, tensor
from parity.diagnose.families.activation import AT_ZERO, Activation
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
# The connections that consume a tensor are looked for in so many paired calls after it.
_MOST_CALLS = 10
# The search for the expression of such a connection ends after so many evaluations.
_MOST_EVALUATIONS = 800
_Solution = tuple[Segment, Identified]


@dataclasses.dataclass(frozen=True)
class Cause:
    """A difference of derivatives, and the segment or layer that has it."""

    where: str
    difference: Difference


class Flow:
    """The connections of one mode; the right ones are searched only when a gradient needs their expression."""

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
        """The segments that may consume a tensor and are right forward, so that both sides have one expression."""
        assert source.call is not None
        first = -1 if source.call.role == "output" else source.call.position
        following = [c for c in self.evidence.calls if c.position > first and not c.unforced]
        solutions = []
        for call in following[:_MOST_CALLS]:
            what = "input" if call.role == "layer" else "output"
            for index in range(call.torch.inputs if what == "input" else call.torch.outputs):
                if (call.torch.key, what, index) not in self.solved:
                    solutions += self._searched(call, index)
        return solutions

    def _searched(self, call: PairedCall, index: int) -> list[_Solution]:
        key = (call.torch.key, index)
        if key not in self.right:
            segment = segment_to(self.evidence, call, index)
            settings = []
            if segment is not None:
                settings = reproducing(segment.problem, segment.sides[0], evaluations=_MOST_EVALUATIONS)
            self.right[key] = [(segment, Identified(setting, setting)) for setting in settings]
        return self.right[key]

    def explain(self, source: Source, gap: np.ndarray, bound: float) -> list[Cause]:
        """The causes whose contributions add up to the gap Flax - PyTorch of the cotangent of a source."""
        predicted, causes = np.zeros_like(gap), []
        for segment, solution in self.different:
            in_torch = self._contribution(segment, solution.torch, 0, source)
            in_flax = self._contribution(segment, solution.flax, 1, source)
            if in_torch is None or in_flax is None:
                continue
            predicted = predicted + in_flax - in_torch
            if np.any(in_torch) or np.any(in_flax):
                causes += self.named(segment, solution)
        rest = gap - predicted
        if np.max(np.abs(rest), initial=0.0) <= bound:
            return list(dict.fromkeys(causes))
        for segment, solution in [*self.different, *self.alike(source)]:
            for variant, difference in _variants(solution.flax):
                right = self._contribution(segment, solution.flax, 1, source)
                wrong = self._contribution(segment, variant, 1, source)
                if right is None or wrong is None:
                    continue
                if np.max(np.abs(rest - wrong + right), initial=0.0) <= bound:
                    return [*causes, Cause(self.evidence.segment_of(segment.call), difference)]
        return []

    def named(self, segment: Segment, solution: Identified) -> list[Cause]:
        """The differences of a segment; if it has none, those of the connections whose results it uses."""
        own = segment.problem.differences(solution.torch, solution.flax)
        if own:
            return [Cause(segment.call.before, difference) for difference in own]
        causes = []
        for position in solution.torch.sources:
            origin = self._origin(segment.sources[position])
            if origin is not None:
                causes += self.named(*origin)
        return causes

    def _origin(self, source: Source) -> _Solution | None:
        """The connection that computed the input of a layer, which a later segment uses too."""
        if source.arrival is None:
            return None
        key = (source.arrival.torch.key, "input", source.index)
        if key in self.solved:
            segment, identified = self.solved[key]
            return None if identified is None or identified.flax is None else (segment, identified)
        return next(iter(self._searched(source.arrival, source.index)), None)

    def _contribution(
        self,
        segment: Segment,
        setting: ConnectionSetting,
        side: int,
        source: Source,
        cotangent: torch.Tensor | None = None,
    ) -> np.ndarray | None:
        """The part of a source's cotangent that comes from a segment, directly and through earlier connections.

        Args:
            segment: a connection that may consume the source.
            setting: its expression.
            side: 0 for PyTorch, 1 for Flax.
            source: the tensor.
            cotangent: of the segment's result; PyTorch's recorded one by default.

        Returns:
            None if no cotangent was recorded, or if the setting does not give the recorded shape.
        """
        if cotangent is None:
            recorded = self.evidence.value("torch", segment.call, f"{segment.what}_cotangent", segment.index)
            if recorded is None:
                return None
            cotangent = tensor(recorded)
        used = sorted(set(setting.sources))
        inputs = [x.detach() for x in segment.sides[side].inputs]
        for position in used:
            inputs[position] = inputs[position].clone().requires_grad_()
        y = segment.problem.evaluate(setting, dataclasses.replace(segment.sides[side], inputs=tuple(inputs)))
        if y is None or y.shape != cotangent.shape:
            return None
        total = np.zeros(self._shape(source))
        if not y.requires_grad:
            return total
        gradients = torch.autograd.grad(y, [inputs[p] for p in used], cotangent, allow_unused=True)
        for position, gradient in zip(used, gradients, strict=True):
            if gradient is None:
                continue
            consumed, consumed_gradient = segment.sources[position], gradient
            if consumed.scaled is not None:
                consumed, scale = consumed.scaled
                consumed_gradient = gradient * tensor(scale)
            if _same(consumed, source):
                total = total + consumed_gradient.numpy()
            elif (origin := self._origin(consumed)) is not None:
                earlier, solution = origin
                earlier_setting = (solution.torch, solution.flax)[side]
                part = self._contribution(earlier, earlier_setting, side, source, consumed_gradient.detach())
                total = total if part is None else total + part
        return total

    def _shape(self, source: Source) -> tuple[int, ...]:
        assert source.call is not None
        what = "input" if source.call.role == "output" else "output"
        value = self.evidence.value("torch", source.call, what, source.index)
        return () if value is None else value.shape


def _same(a: Source, b: Source) -> bool:
    if a.call is None or b.call is None:
        return False
    return (a.call.torch.key, a.index) == (b.call.torch.key, b.index)


def _variants(setting: ConnectionSetting) -> Iterator[tuple[ConnectionSetting, Difference]]:
    """The settings with the same values and another derivative."""
    kinked = [a for a in (*setting.inner, setting.outer, setting.late) if a in AT_ZERO]
    for tie, tie_words in _TIES.items() if kinked else ():
        words = f"derivative of {kinked[0].describe()} at zero: {AT_ZERO[kinked[0]]:g}"
        fix = _RIGHT_TIE[kinked[0] is Activation.RELU]
        difference = Difference("relu-tie-gradient", words, f"derivative at zero: {tie_words}", fix)
        yield setting._replace(tie=tie), difference
    words = "the gradient passes", "no gradient passes (the branch is detached)"
    for detached in [(source,) for source in setting.sources] + [setting.sources]:
        stopped_sources = tuple(dict.fromkeys((*setting.stopped, *detached)))
        yield setting._replace(stopped=stopped_sources), Difference("gradient-stopped", *words, _STOPPED)


def stopped(name: str) -> Difference:
    """A gradient that is zero in Flax and not in PyTorch."""
    return Difference("gradient-stopped", f"{name} is not zero", f"{name} is zero everywhere", _STOPPED)


def explain_layer_backward(
    evidence: Evidence, call: PairedCall, solve: Callable[[], Solved | None]
) -> Iterator[tuple[str, list[Difference]]]:
    """The divergent gradients of a layer whose output is right: (quantity, its causes)."""
    quantities = list(gradients_that_differ(evidence, call))
    if not quantities:
        return
    detached = _detached(evidence, call, solve())
    for name, key, torch_gradient, flax_gradient, bound in quantities:
        if np.any(torch_gradient) and not np.any(flax_gradient):
            yield name, [stopped(name)]
        elif key in detached and near(detached[key], flax_gradient, bound):
            words = "differentiates the statistics", "holds the statistics constant"
            yield name, [Difference("gradient-stopped", *words, _STOPPED)]
        else:
            yield name, []


def _detached(evidence: Evidence, call: PairedCall, solved: Solved | None) -> dict[str, torch.Tensor]:
    """The gradients of a norm whose statistics are constants; none for any other layer."""
    cotangent = evidence.value("torch", call, "output_cotangent")
    if solved is None or solved.identified is None or cotangent is None:
        return {}
    setting = solved.identified.torch
    if not isinstance(setting, NormalisationSetting):
        return {}
    return gradients_of(solved, setting._replace(detached=True), tensor(cotangent))
