"""What each kind of equation says of the labels of `ties`: the labels of its output, and which go together."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from flaxcnn.compress.ties import ZEROS, Axes, Labels, Product, Rule, Shapes, Value, Walk, fixed_shape


def _elementwise(walk: Walk, equation: Any, inputs: list[Value], shapes: Shapes) -> Axes:
    rank = len(equation.outvars[0].aval.shape)
    axes: list[Labels | None] = [None] * rank
    for value in inputs:
        for axis, labels in enumerate(value.axes if len(value.axes) == rank else ()):
            if labels is None:
                continue
            before = axes[axis]
            if before is not None:
                walk.tie(before, labels)
            # Beside a channel of zeros stands the channel that is added to it.
            axes[axis] = labels if before is None else np.where(before >= 0, before, labels)
    return axes


def _convolution(walk: Walk, equation: Any, inputs: list[Value], shapes: Shapes) -> Axes:
    """That of `flaxcnn.ops`, and XLA's in its layout: NHWC, HWIO, NHWC."""
    params = equation.params
    groups = params["groups"] if "groups" in params else params["feature_group_count"]
    x, kernel = inputs[0].axes[-1], inputs[1].axes
    walk.fix(kernel[0])
    walk.fix(kernel[1])
    output = equation.outvars[0].aval.shape
    if inputs[1].name is None:
        for labels in (x, *kernel):
            walk.fix(labels)
    else:
        walk.products.append(Product(inputs[1].name, math.prod(output[1:-1]), groups))
        if groups == 1:
            _contract(walk, x, kernel[2])
        else:
            walk.fix(kernel[2])
            _tie_groups(walk, groups, x, kernel[3])
    return [*(np.zeros(size, int) for size in output[:-1]), kernel[3]]


def _tie_groups(walk: Walk, groups: int, x: Labels | None, outputs: Labels | None) -> None:
    """The inputs and the outputs of a group go together: the kernel has no axis for single ones."""
    if x is None or outputs is None:
        walk.fix(x)
        walk.fix(outputs)
        return
    parts = np.concatenate([x.reshape(groups, -1), outputs.reshape(groups, -1)], axis=1)
    # A group that reads zeros from a padding keeps them.
    walk.fix(outputs.reshape(groups, -1)[(x.reshape(groups, -1) < 0).any(axis=1)].ravel())
    for column in range(1, parts.shape[1]):
        walk.tie(parts[:, -1], parts[:, column - 1])


def _contract(walk: Walk, first: Labels | None, second: Labels | None) -> None:
    """Indices that are multiplied and summed go together; those without a partner stay."""
    if first is None or second is None:
        walk.fix(first)
        walk.fix(second)
        return
    walk.tie(first, second)
    walk.fix(first[second < 0])
    walk.fix(second[first < 0])


def _xla_convolution(walk: Walk, equation: Any, inputs: list[Value], shapes: Shapes) -> Axes:
    numbers = equation.params["dimension_numbers"]
    wanted = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
    if (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec) == wanted and equation.params[
        "batch_group_count"
    ] == 1:
        return _convolution(walk, equation, inputs, shapes)
    for value in inputs:
        for labels in value.axes:
            walk.fix(labels)
    return fixed_shape(equation.outvars[0].aval.shape).axes


def _dot(walk: Walk, equation: Any, inputs: list[Value], shapes: Shapes) -> Axes:
    (left, right), (left_batch, right_batch) = equation.params["dimension_numbers"]
    first, second = inputs
    for i, j in zip((*left, *left_batch), (*right, *right_batch), strict=True):
        _contract(walk, first.axes[i], second.axes[j])
    if second.name is not None:
        walk.products.append(Product(second.name, 1, 1))
    return [
        *(first.axes[i] for i in left_batch),
        *(labels for i, labels in enumerate(first.axes) if i not in (*left, *left_batch)),
        *(labels for j, labels in enumerate(second.axes) if j not in (*right, *right_batch)),
    ]


def _reduce(walk: Walk, equation: Any, inputs: list[Value], shapes: Shapes) -> Axes:
    """A sum or a maximum over channels mixes them."""
    gone = equation.params["axes"]
    for axis in gone:
        walk.fix(inputs[0].axes[axis])
    return [labels for axis, labels in enumerate(inputs[0].axes) if axis not in gone]


def _window(walk: Walk, equation: Any, inputs: list[Value], shapes: Shapes) -> Axes:
    """A pool: its windows are one channel wide."""
    axes = list(inputs[0].axes)
    output = equation.outvars[0].aval.shape
    for axis, window in enumerate(equation.params["window_dimensions"]):
        if window != 1 or output[axis] != shapes[0][axis]:
            walk.fix(axes[axis])
            axes[axis] = np.zeros(output[axis], int)
    return axes


def _transpose(walk: Walk, equation: Any, inputs: list[Value], shapes: Shapes) -> Axes:
    return [inputs[0].axes[axis] for axis in equation.params["permutation"]]


def _broadcast(walk: Walk, equation: Any, inputs: list[Value], shapes: Shapes) -> Axes:
    axes: list[Labels | None] = [None] * len(equation.params["shape"])
    for axis, target in enumerate(equation.params["broadcast_dimensions"]):
        axes[target] = inputs[0].axes[axis]
    return axes


def _slice(walk: Walk, equation: Any, inputs: list[Value], shapes: Shapes) -> Axes:
    params = equation.params
    strides = params["strides"] or (1,) * len(shapes[0])
    parts = zip(inputs[0].axes, params["start_indices"], params["limit_indices"], strides, strict=True)
    axes = []
    for labels, start, stop, step in parts:
        axes.append(None if labels is None else labels[start:stop:step])
    # A slice of the channels would be another one after some are gone.
    for labels, part in zip(inputs[0].axes, axes, strict=True):
        if labels is not None and len(part) < len(labels):
            walk.fix(labels)
    return axes


def _pad(walk: Walk, equation: Any, inputs: list[Value], shapes: Shapes) -> Axes:
    axes = []
    for labels, size, (low, high, between) in zip(
        inputs[0].axes, shapes[0], equation.params["padding_config"], strict=True
    ):
        if (low, high, between) == (0, 0, 0):
            axes.append(labels)
        elif labels is None or low or high < 0 or between or not labels.any():
            walk.fix(labels)
            axes.append(np.zeros(low + high + size + max(0, size - 1) * between, int))
        else:
            axes.append(np.concatenate([labels, np.full(high, ZEROS)]))
    return axes


def _concatenate(walk: Walk, equation: Any, inputs: list[Value], shapes: Shapes) -> Axes:
    along = equation.params["dimension"]
    axes = list(_elementwise(walk, equation, [_hidden(value, along) for value in inputs], shapes))
    parts = [
        np.zeros(shape[along], int) if value.axes[along] is None else value.axes[along]
        for value, shape in zip(inputs, shapes, strict=True)
    ]
    axes[along] = np.concatenate(parts)
    return axes


def _hidden(value: Value, axis: int) -> Value:
    return Value(tuple(None if index == axis else labels for index, labels in enumerate(value.axes)))


def _reshape(walk: Walk, equation: Any, inputs: list[Value], shapes: Shapes) -> Axes:
    source, target = shapes[0], equation.outvars[0].aval.shape
    axes: list[Labels | None] = [None] * len(target)
    for before, after in _blocks(source, target):
        labelled = [axis for axis in before if (labels := inputs[0].axes[axis]) is not None and labels.any()]
        size = math.prod(target[axis] for axis in after)
        if len(labelled) == len(after) == 1:
            # Every index of the channels, repeated for each index of the axes that are merged with them.
            shape = [source[axis] if axis == labelled[0] else 1 for axis in before]
            labels = np.broadcast_to(inputs[0].axes[labelled[0]].reshape(shape), [source[a] for a in before])
            axes[after[0]] = labels.reshape(size)
            continue
        for axis in labelled:
            walk.fix(inputs[0].axes[axis])
        for axis in after:
            axes[axis] = np.zeros(target[axis], int)
        if all(inputs[0].axes[axis] is None for axis in before):
            for axis in after:
                axes[axis] = None
    for axis, size in enumerate(source):
        if size == 1:
            walk.fix(inputs[0].axes[axis])
    return axes


def _blocks(source: Sequence[int], target: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """The smallest runs of axes with as many elements on both sides; axes of one index are left out."""
    left = [axis for axis, size in enumerate(source) if size != 1]
    right = [axis for axis, size in enumerate(target) if size != 1]
    while left or right:
        before, after = [left.pop(0)], [right.pop(0)]
        while (a := math.prod(source[i] for i in before)) != (b := math.prod(target[i] for i in after)):
            if a < b:
                before.append(left.pop(0))
            else:
                after.append(right.pop(0))
        yield before, after


# One output, each element from the elements at the same place.
_ELEMENTWISE = (
    "abs",
    "add",
    "add_any",
    "and",
    "atan2",
    "cbrt",
    "ceil",
    "clamp",
    "convert_element_type",
    "copy",
    "cos",
    "div",
    "eq",
    "erf",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "ge",
    "gt",
    "integer_pow",
    "is_finite",
    "le",
    "log",
    "log1p",
    "logistic",
    "lt",
    "max",
    "min",
    "mul",
    "ne",
    "neg",
    "not",
    "or",
    "pow",
    "reduce_precision",
    "rem",
    "round",
    "rsqrt",
    "select_n",
    "sign",
    "sin",
    "sqrt",
    "square",
    "stop_gradient",
    "sub",
    "tan",
    "tanh",
    "xor",
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(("reduce_sum", "reduce_max", "reduce_min", "reduce_prod"), _reduce),
    **dict.fromkeys(("reduce_window_max", "reduce_window_min", "reduce_window_sum"), _window),
    "flaxcnn_convolution": _convolution,
    "conv_general_dilated": _xla_convolution,
    "dot_general": _dot,
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "slice": _slice,
    "pad": _pad,
    "concatenate": _concatenate,
}
