"""The rule of the verdict: how large a gap rounding explains. Every threshold is here.

For tensors a (Flax) and b (PyTorch) let gap = max |a64 - b64| and rounding = max(|a32 - a64|, |b32 - b64|).
A correct port has a gap of the size of float64 rounding, which float32 rounding predicts:

    allowed = safety_factor * max(rounding, eps32 * scale) * eps64 / eps32

with scale = max |b64|. The floor eps32 * scale speaks for tensors whose float32 values came out exact by luck. A
gap above `allowed` is a difference of meaning, however small. A float32 difference needs no rule of its own:
|a32 - b32| <= |a32 - a64| + |a64 - b64| + |b64 - b32|, so once the gap is explained the rest is rounding.

Where both sides pin bfloat16 or float16, their float64 runs compute in it too. Nothing needs predicting then:

    allowed = coarse_factor * max(rounding, eps * scale)
"""

import dataclasses
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

# Unit of the last place at 1, by dtype.
EPSILON = {
    "float64": 2.0**-52,
    "float32": 2.0**-23,
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
}
COARSE = ("float16", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Policy:
    """What the judge may be lenient about.

    `safety_factor`: how many times the predicted float64 rounding a gap may reach. It is chosen, once for all
    models. It covers that the two precisions run different algorithms (blocked float32 sums, plain float64 sums):
    ports of ResNets stay below 8 times. Even so a gap of 1e-13 of a tensor's scale counts as a difference of meaning.
    `coarse_factor`: the same for tensors that both sides compute in bfloat16 or float16, in units of its last place.
    `minimum_coverage`: the share of parameters and of layers that must be exercised for a proof.
    `precision_factor`: a layer whose float32 rounding on one side exceeds the other's by this factor is noted.
    `probe_factor`: how many times more a gap may reach on a probe's synthetic tensors. Their values span eight orders
    of magnitude, where the order of a sum decides what is lost: right ports were seen at 1.2 times the usual limit.
    `strict_kinks`: another derivative at exact zeros and ties counts as a difference even where the models themselves
    do not reach them. `strict_start`: other distributions of the initial weights count as a difference.
    """

    safety_factor: float = 256.0
    minimum_coverage: float = 1.0
    precision_factor: float = 64.0
    coarse_factor: float = 8.0
    probe_factor: float = 64.0
    strict_kinks: bool = False
    strict_start: bool = False

    @staticmethod
    def of(saved: Mapping[str, float]) -> "Policy":
        """The policy that a report was saved with; settings that are not of today are left out."""
        kinds = {field.name: type(field.default) for field in dataclasses.fields(Policy)}
        return Policy(**{name: kinds[name](value) for name, value in saved.items() if name in kinds})


@runtime_checkable
class Rounded(Protocol):
    """The fields of a measurement that the rule reads: see `parity.verdict.record.Metrics`."""

    scale: float
    rounding_torch: float
    rounding_flax: float
    precision: str


def allowed_gap(metrics: Rounded, policy: Policy) -> float:
    """The largest semantic gap that rounding explains; see the module's docstring."""
    rounding = max(metrics.rounding_torch, metrics.rounding_flax)
    return explained(rounding, metrics.scale, policy, metrics.precision)


def allowed_in_probe(metrics: Rounded, policy: Policy) -> float:
    """The same for tensors of a probe."""
    return policy.probe_factor * allowed_gap(metrics, policy)


def explained(rounding: float, scale: float, policy: Policy, precision: str = "float64") -> float:
    """The same from numbers.

    Args:
        rounding: the largest |x32 - x64|.
        scale: the largest |x64| of the reference; a wrong value must not shrink the gap that it is allowed.
        policy: factors.
        precision: the dtype in which the float64 runs computed the tensor.
    """
    if precision in COARSE:
        return policy.coarse_factor * max(rounding, EPSILON[precision] * scale)
    predicted = max(rounding, EPSILON["float32"] * scale)
    return policy.safety_factor * predicted * EPSILON[precision] / EPSILON["float32"]
