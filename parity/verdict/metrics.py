"""The numbers by which two tensors are compared; they know no threshold."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Worst:
    """The element with the largest semantic gap: its index (PyTorch's layout) and both float64 values."""

    index: tuple[int, ...]
    torch: float
    flax: float


@dataclasses.dataclass(frozen=True)
class Metrics:
    """How two tensors a (Flax) and b (PyTorch) differ, each computed in float32 and in float64.

    `gap_*` speak of the semantic gap |a64 - b64|; `*_relative` divide by `scale` = max |b64| (the maximum)
    or by the root mean square of b64. `rounding_*` = max |x32 - x64| is what float32 costs each side;
    `difference32` = max |a32 - b32| is what a user sees. `ulp_*` count units in the last place between a32
    and b32; `cosine` is that of a64 and b64. `precision` names the coarsest dtype that took part in the
    float64 run: "float64" unless a layer pins its own.
    """

    shape: tuple[int, ...]
    scale: float
    gap_max: float
    gap_rms: float
    gap_max_relative: float
    gap_rms_relative: float
    rounding_torch: float
    rounding_flax: float
    difference32: float
    ulp_median: float
    ulp_p99: float
    ulp_max: float
    cosine: float
    worst: Worst
    precision: str
