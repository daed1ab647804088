"""Which indices of which axes stand for one channel: the equations of a network, read as ties between indices.

Every index of every axis of a parameter is a label. The walk carries the labels of each axis through the equations of
the jaxpr: an addition ties the labels of its operands index by index, a convolution ties the channels of its input to
the third axis of its kernel and hands on those of the fourth, a flatten repeats each channel's label for every pixel.
Label 0 stands for what cannot be removed (the batch, pixels, colours, classes, constants), and an equation without a
rule ties all that it reads to it: what is not understood is not touched.

Torch-Pruning (Fang et al. 2023, "DepGraph: Towards Any Structural Pruning") finds the same groups from the graph of
PyTorch's backward pass, layer by layer; labels for single indices also know the zeros that shortcut A adds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

FIXED = 0
ZEROS = -1  # a channel of zeros that padding made: it is tied to nothing

Labels = Int[np.ndarray, "_"]


class Value(NamedTuple):
    """What is known of an array.

    Attributes:
        axes: the labels of each axis; None where it is the same along the axis.
        name: of the parameter that it is.
    """

    axes: tuple[Labels | None, ...]
    name: str | None = None


class Product(NamedTuple):
    """A convolution or matrix product with a parameter as its kernel.

    Attributes:
        kernel: its name.
        positions: output pixels an image; 1 for a dense layer.
        groups: into which the channels fall.
    """

    kernel: str
    positions: int
    groups: int


class Walk:
    """Ties, collected from a jaxpr.

    Args:
        rules: for the name of an equation, the labels of its output's axes; they call `tie` and `fix`.
    """

    def __init__(self, rules: Mapping[str, "Rule"]) -> None:
        self.rules, self.labels = rules, 1
        self.edges: list[Int[np.ndarray, "2 e"]] = []
        self.products: list[Product] = []

    def fresh(self, size: int) -> Labels:
        """As many new labels."""
        self.labels += size
        return np.arange(self.labels - size, self.labels)

    def tie(self, first: Labels | int, second: Labels | int) -> None:
        """Tie labels index by index; zeros stay free."""
        first, second = np.broadcast_arrays(np.asarray(first), np.asarray(second))
        both = (first >= 0) & (second >= 0)
        self.edges.append(np.stack([first[both], second[both]]))

    def fix(self, labels: Labels | None) -> None:
        """Say that these indices cannot be removed."""
        if labels is not None:
            self.tie(labels, FIXED)

    def components(self) -> Labels:
        """For each label, the number of those that it is tied with."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        rows, columns = np.concatenate([np.zeros((2, 0), int), *self.edges], axis=1)
        graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(self.labels, self.labels))
        return connected_components(graph, directed=False)[1]

    def run(self, jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Value]) -> list[Value]:
        """Walk through the equations; return what is known of the outputs."""
        known = dict(zip(jaxpr.constvars, map(fixed, constants), strict=True))
        known |= dict(zip(jaxpr.invars, arguments, strict=True))

        def read(variable: Any) -> Value:
            return fixed(variable.val) if hasattr(variable, "val") else known[variable]

        for equation in jaxpr.eqns:
            inputs = [read(variable) for variable in equation.invars]
            outputs = self._equation(equation, inputs)
            known |= dict(zip(equation.outvars, outputs, strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def _equation(self, equation: Any, inputs: list[Value]) -> list[Value]:
        name = equation.primitive.name
        if name in self.rules:
            shapes = [variable.aval.shape for variable in equation.invars]
            axes = self.rules[name](self, equation, inputs, shapes)
            return [Value(self._without_ones(axes, equation.outvars[0].aval.shape))]
        inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        if name in CALLS and inner is not None:
            return self.run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)
        for value in inputs:
            for labels in value.axes:
                self.fix(labels)
        return [fixed_shape(variable.aval.shape) for variable in equation.outvars]

    def _without_ones(self, axes: Sequence[Labels | None], shape: Sequence[int]) -> tuple[Labels | None, ...]:
        """An axis of one index may be broadcast along, so that a channel there stays."""
        for labels, size in zip(axes, shape, strict=True):
            if size == 1:
                self.fix(labels)
        return tuple(None if size == 1 else labels for labels, size in zip(axes, shape, strict=True))


def fixed(array: Any) -> Value:
    """A constant, or an input: none of its indices can be removed."""
    return fixed_shape(np.shape(array))


def fixed_shape(shape: Sequence[int]) -> Value:
    """An array of this shape, of which nothing can be removed."""
    return Value(tuple(None if size == 1 else np.zeros(size, int) for size in shape))


Axes = Sequence[Labels | None]
Shapes = Sequence[Sequence[int]]
Rule = Callable[[Walk, Any, list[Value], Shapes], Axes]
CALLS = (
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "remat",
    "checkpoint",
    "custom_jvp_call",
    "custom_vjp_call",
)
