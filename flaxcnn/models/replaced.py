"""A layer of a model in whose place something else stands, or is watched."""

from collections.abc import Callable
from typing import Any

from flax import nnx


def replace_layer(model: nnx.Module, name: str, make: Callable[[Any], Any]) -> None:
    """Put what `make` makes of a layer in its place; the model itself is changed.

    Args:
        model: a model of NNX.
        name: of the layer, such as `layer1.0.conv1`: attributes, and positions in lists.
        make: from the layer to what stands in its place.
    """
    *parents, last = name.split(".")
    parent = model
    for part in parents:
        parent = parent[int(part)] if part.isdecimal() else getattr(parent, part)
    if last.isdecimal():
        parent[int(last)] = make(parent[int(last)])
    else:
        setattr(parent, last, make(getattr(parent, last)))


class Watched:
    """Stands in the place of a layer and notes what goes in and comes out of its last call.

    Args:
        layer: that is called.
        note: is given its input and its output, arrays of the trace that runs.
    """

    def __init__(self, layer: nnx.Module, note: Callable[[Any, Any], None]) -> None:
        self.layer, self.note = layer, note

    def __call__(self, x: Any, **options: Any) -> Any:
        """Call the layer."""
        y = self.layer(x, **options)
        self.note(x, y)
        return y
