"""Refuse vacuous proof: name the parameters and layers that the runs did not exercise, the reason, and the remedy.

A parameter is exercised if its gradient is not zero everywhere in some mode. A frozen parameter is exercised if its
layer is. A layer is exercised if in some mode its output varies, is not zero, and does not lie on its two bounds only.
"""

import dataclasses

import numpy as np

from parity.capture.trace import Call, Trace
from parity.matching.calls import Alignment
from parity.matching.weights import WeightPlan
from parity.verdict.record import Coverage, Unexercised


@dataclasses.dataclass
class Exercise:
    """The parameters and layers exercised so far, over the modes; `reasons` keeps the last reason and remedy."""

    parameters: dict[str, bool] = dataclasses.field(default_factory=dict)
    layers: dict[str, bool] = dataclasses.field(default_factory=dict)
    reasons: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)

    def add(
        self, alignment: Alignment, plan: WeightPlan, torch: Trace, flax: Trace, frozen: tuple[str, ...]
    ) -> None:
        """Take one mode's float64 runs into account."""
        layers = [site.torch for site in alignment.sites if site.role == "layer"]
        for call in layers:
            reason = _why_idle(torch, call)
            self.layers[call.path] = self.layers.get(call.path, False) or reason is None
            if reason is not None:
                self.reasons[call.path] = reason
        compared = {path for path, exercised in self.layers.items() if exercised}
        for link in plan.links:
            if not link.torch_trainable:
                continue
            tie = plan.tie_of(link)
            torch_name = tie.array if tie is not None and tie.side == "torch" else link.torch
            reason = _why_untested(torch, flax, torch_name, link.flax)
            if link.torch in frozen:
                owner = link.torch.rpartition(".")[0]
                message = "it is frozen and its layer was not compared"
                reason = None if owner in compared else (message, "unfreeze it, or map its layer")
            self.parameters[link.torch] = self.parameters.get(link.torch, False) or reason is None
            if reason is not None:
                self.reasons[link.torch] = reason

    def coverage(self, plan: WeightPlan) -> Coverage:
        """The sum over all modes."""
        idle = [name for name, exercised in {**self.layers, **self.parameters}.items() if not exercised]
        unexercised = [Unexercised(name, *self.reasons[name]) for name in idle]
        unexercised += [
            Unexercised(name, "Flax has no place for it", "add it to the Flax module")
            for name in plan.unmatched_torch
            if name not in self.parameters
        ]
        return Coverage(
            parameters=len(self.parameters) + len(plan.unmatched_torch),
            parameters_exercised=sum(self.parameters.values()),
            layers=len(self.layers),
            layers_exercised=sum(self.layers.values()),
            unexercised=tuple(unexercised),
        )


def _why_untested(torch: Trace, flax: Trace, name: str, flax_name: str) -> tuple[str, str] | None:
    """The reason why a parameter was not exercised in this mode, and the remedy; None if it was."""
    gradient = torch.arrays.get(f"gradient/{name}")
    if gradient is None:
        return "PyTorch computed no gradient for it", "let the output depend on it"
    if not np.any(gradient):
        return (
            "its gradient is zero everywhere",
            "a zero scale or a dead activation hides it: leave `perturb` on, or give inputs that reach it",
        )
    if f"gradient/{flax_name}" not in flax.arrays:
        return (
            "Flax computed no gradient for it",
            "make it an nnx.Param, or put it in the collection 'params'",
        )
    return None


def _why_idle(torch: Trace, call: Call) -> tuple[str, str] | None:
    """The reason why a layer's output proves nothing, and the remedy; None if it proves something."""
    outputs = [torch.get(call, "output", index) for index in range(call.outputs)]
    values = np.concatenate([np.ravel(a) for a in outputs if a is not None])
    if not np.any(values):
        return "its output is zero everywhere", "leave `perturb` on, or give it inputs that reach it"
    lowest, highest = np.min(values), np.max(values)
    if lowest == highest and values.size > 1:
        return "its output is constant", "give it inputs that vary"
    if values.size > 8 and np.all((values == lowest) | (values == highest)):
        return "its output is saturated at its two bounds", "give it smaller inputs"
    return None
