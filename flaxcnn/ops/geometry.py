"""Window geometry shared by convolution and pooling: strides, paddings, output sizes.

Along one axis an input of length L with padding (before, after) meets a window of k taps at dilation d and
stride s. The window spans e = d (k - 1) + 1 positions, and the output has

    floor((L + before + after - e) / s) + 1        positions.

With ``ceil_mode`` the floor becomes a ceiling, so the last window may reach beyond the far padding. As in
PyTorch, a window that would start beyond the input and its leading padding is dropped.
"""

import operator
from dataclasses import dataclass
from typing import Any

from flaxcnn.errors import InvalidArgument

Pair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Axis:
    """The geometry of a window along one spatial axis."""

    length: int  # of the unpadded input
    window: int
    stride: int
    dilation: int
    before: int  # padding
    after: int
    overhang: int  # positions beyond the far padding that the last window covers, only in ceil_mode
    output: int

    @property
    def span(self) -> int:
        """Positions from the first tap of the window to its last, both included."""
        return self.dilation * (self.window - 1) + 1

    @property
    def padding(self) -> tuple[int, int]:
        """The padding that makes every window lie inside the padded input."""
        return self.before, self.after + self.overhang

    @property
    def remainder(self) -> int:
        """Trailing positions of the padded input that no window reaches."""
        return self.length + sum(self.padding) - (self.stride * (self.output - 1) + self.span)


def pair(value: Any, name: str, *, minimum: int) -> tuple[int, int]:
    """Convert an int, or one int each for height and width, to a pair; raise below ``minimum``."""
    values = value if isinstance(value, tuple | list) else (value, value)
    try:
        first, second = (operator.index(item) for item in values)
    except (TypeError, ValueError):
        first = second = minimum - 1
    if min(first, second) < minimum:
        raise InvalidArgument(
            f"{name} is {value!r}, but it must be an integer of at least {minimum}, or a pair of them "
            "for height and width."
        )
    return first, second


def padding_pairs(padding: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Convert p, (p_height, p_width) or ((top, bottom), (left, right)) to ((top, bottom), (left, right))."""
    if isinstance(padding, tuple | list) and any(isinstance(item, tuple | list) for item in padding):
        if len(padding) == 2 and all(isinstance(item, tuple | list) for item in padding):
            top_bottom, left_right = padding
            return pair(top_bottom, "padding", minimum=0), pair(left_right, "padding", minimum=0)
        raise InvalidArgument(
            f"padding is {padding!r}, but explicit padding must be ((top, bottom), (left, right))."
        )
    height, width = pair(padding, "padding", minimum=0)
    return (height, height), (width, width)


def check_images(shape: tuple[int, ...]) -> None:
    """Raise unless the shape is that of a batch of images [n, h, w, c]."""
    if len(shape) != 4:
        raise InvalidArgument(
            f"The input has shape {tuple(shape)}, but images are [batch, height, width, channels]: "
            "reshape it, adding a batch dimension of 1 to a single image."
        )


def axis(
    length: int, window: int, stride: int, dilation: int, padding: tuple[int, int], *, ceil_mode: bool = False
) -> Axis:
    """Solve the geometry of one axis; raise InvalidArgument if no window fits."""
    before, after = padding
    room = length + before + after - (dilation * (window - 1) + 1)
    if room < 0:
        raise InvalidArgument(
            f"A window of {window} with dilation {dilation} does not fit an input of {length} padded by "
            f"{before} + {after}: give a larger input, more padding or a smaller window."
        )
    output = room // stride + 1
    if ceil_mode and room % stride and output * stride < length + before:
        output += 1
    overhang = max(0, (output - 1) * stride - room)
    return Axis(length, window, stride, dilation, before, after, overhang, output)


def axes(
    image_shape: tuple[int, ...],
    window: Pair,
    *,
    stride: Pair,
    padding: Padding,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Axis, Axis]:
    """Solve the geometry of height and width from the options of the caller."""
    check_images(image_shape)
    windows = pair(window, "window", minimum=1)
    strides = pair(stride, "stride", minimum=1)
    dilations = pair(dilation, "dilation", minimum=1)
    height, width = (
        axis(*spatial, ceil_mode=ceil_mode)
        for spatial in zip(image_shape[1:3], windows, strides, dilations, padding_pairs(padding), strict=True)
    )
    return height, width


def pooling_axes(
    image_shape: tuple[int, ...],
    window: Pair,
    *,
    stride: Pair | None,
    padding: Padding,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Axis, Axis]:
    """Solve the geometry of a pooling, whose stride defaults to its window.

    Padding is at most half the window, as PyTorch demands: then every undilated window covers an input position.
    """
    solved = axes(
        image_shape,
        window,
        stride=window if stride is None else stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    for axis in solved:
        if max(axis.before, axis.after) > axis.window // 2:
            raise InvalidArgument(
                f"padding is {padding!r}, but a pooling pads by at most half its window of {axis.window}: "
                "give less padding or a larger window."
            )
    return solved
