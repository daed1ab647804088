"""A connection between two layers, and one way in which it may be made."""

import dataclasses
from typing import NamedTuple

from parity.diagnose.families.activation import IDENTITY
from parity.diagnose.families.pooling import PoolingSetting
from parity.diagnose.joining import CHW, ONLY


class ConnectionSetting(NamedTuple):
    """One expression of the grammar of `connections`.

    `sources` index those of the problem, `stopped` those of them without a gradient.
    """

    sources: tuple[int, ...]
    join: str = ONLY
    inner: tuple[str, ...] = (IDENTITY,)
    outer: str = IDENTITY
    pool: PoolingSetting = PoolingSetting()
    late: str = IDENTITY
    flatten: str = CHW
    reversed_channels: bool = False
    # How a part of a sum or a concatenation comes to the size of the target, where it has another.
    resize: PoolingSetting = PoolingSetting("nearest")
    tie: float | None = None  # the derivative of an activation at its kink, if not PyTorch's
    stopped: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Connection:
    """The tensors of one segment.

    `names` and the sides' inputs list the sources, the most recent first; `likely` are activations whose
    modules PyTorch called in the segment.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    shape_out: tuple[int, ...]
    flax_shapes: tuple[tuple[int, ...], ...]
    flax_shape_out: tuple[int, ...]
    likely: tuple[str, ...]
    per_example: bool = True
