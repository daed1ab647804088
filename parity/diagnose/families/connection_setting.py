"""A connection between two layers, and the conventions that it may follow."""

import dataclasses
from typing import NamedTuple

from parity.diagnose.families.activation import Activation
from parity.diagnose.families.pooling import PoolingKind, PoolingSetting
from parity.diagnose.joining import FlattenOrder, Join


class ConnectionSetting(NamedTuple):
    """One expression of the grammar of `connections`.

    Attributes:
        sources: the positions of the joined tensors among the sources of the problem.
        join: how they are joined.
        inner: the activation of each of them before the join.
        outer: the activation after the join.
        pool: the pooling after that.
        late: the activation after the pooling.
        flatten: the order of the axes, if the target is flat.
        reversed_channels: whether the channels of the result are reversed.
        resize: how a part of a sum or of a concatenation is resized, if the target has another size.
        tie: the derivative of an activation at its kink, if it is not PyTorch's.
        stopped: the sources through which no gradient flows.
    """

    sources: tuple[int, ...]
    join: Join = Join.ONLY
    inner: tuple[Activation, ...] = (Activation.IDENTITY,)
    outer: Activation = Activation.IDENTITY
    pool: PoolingSetting = PoolingSetting()
    late: Activation = Activation.IDENTITY
    flatten: FlattenOrder = FlattenOrder.CHW
    reversed_channels: bool = False
    resize: PoolingSetting = PoolingSetting(PoolingKind.NEAREST)
    tie: float | None = None
    stopped: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Connection:
    """The tensors of one segment.

    Attributes:
        names, shapes, flax_shapes: of the sources, the most recent first; the inputs of the sides have that order.
        shape_out, flax_shape_out: the shapes of the target.
        likely: the activations whose modules PyTorch called in the segment.
        per_example: whether each example is computed by itself.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    shape_out: tuple[int, ...]
    flax_shapes: tuple[tuple[int, ...], ...]
    flax_shape_out: tuple[int, ...]
    likely: tuple[Activation, ...]
    per_example: bool = True
