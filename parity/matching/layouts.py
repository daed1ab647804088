"""How PyTorch's layouts of parameters convert to Flax's: one table, each row exactly invertible.

    kind          PyTorch              Flax                        axes
    convolution   [O, I/g, *k]         [*k, I/g, O]                (2.., 1, 0)
    transposed    [I, O/g, *k]         [*k, I, O], k reversed      (2.., 0, 1)   `transpose_kernel=False`
    transposed    [I, O/g, *k]         [*k, O, I]                  (2.., 1, 0)   `transpose_kernel=True`
    linear        [O, I]               [I, O]                      (1, 0)
    all others    as they are

In PyTorch a transposed convolution is the gradient of a convolution: it slides the kernel reversed. Flax's
default slides it as it is, so the conversion reverses the weights. Grouped, [I, O/g, *k] splits I into
(g, I/g) and joins g with O/g, which is the layout of a grouped `lax.conv_general_dilated`.
"""

import dataclasses

import numpy as np

from parity.capture.kinds import CONVOLUTION, EMBEDDING, LINEAR, NORM, OTHER, TRANSPOSED


@dataclasses.dataclass(frozen=True)
class LayoutConversion:
    """A bijection of arrays: split the first axis into groups, permute the axes, reverse the kernel, reshape.

    `axes` permutes PyTorch's axes; `reversed_axes` are axes of the result. Where the two sides differ in
    axes of length one (a scale [C, 1, 1] kept as [C]), `full_shape` is reshaped to Flax's `shape` at the end.
    """

    name: str
    axes: tuple[int, ...] | None = None
    reversed_axes: tuple[int, ...] = ()
    groups: int = 1
    shape: tuple[int, ...] | None = None
    full_shape: tuple[int, ...] | None = None

    def to_flax(self, array: np.ndarray) -> np.ndarray:
        """PyTorch's array in Flax's layout."""
        if self.groups > 1:
            i, o, *k = array.shape
            grouped = array.reshape(self.groups, i // self.groups, o, *k)
            array = np.moveaxis(grouped, 0, 1).reshape(i // self.groups, self.groups * o, *k)
        if self.axes is not None:
            array = np.transpose(array, self.axes)
        array = np.flip(array, self.reversed_axes) if self.reversed_axes else array
        return np.asarray(array if self.shape is None else array.reshape(self.shape), order="C")

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        """Flax's array in PyTorch's layout: the exact inverse of `to_flax`."""
        if self.full_shape is not None:
            array = array.reshape(self.full_shape)
        array = np.flip(array, self.reversed_axes) if self.reversed_axes else array
        if self.axes is not None:
            array = np.transpose(array, np.argsort(self.axes))
        if self.groups > 1:
            i, o, *k = array.shape
            grouped = array.reshape(i, self.groups, o // self.groups, *k)
            array = np.moveaxis(grouped, 1, 0).reshape(i * self.groups, o // self.groups, *k)
        return np.asarray(array, order="C")

    def flax_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that `to_flax` gives to an array of PyTorch's `shape`."""
        return self.to_flax(np.broadcast_to(np.zeros((), np.int8), shape)).shape


SAME = LayoutConversion("same")

# The names that Flax may use for a leaf of PyTorch's, by the kind of PyTorch's module, the likeliest first.
LEAF_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    CONVOLUTION: {"weight": ("kernel", "weight", "w"), "bias": ("bias", "b")},
    TRANSPOSED: {"weight": ("kernel", "weight", "w"), "bias": ("bias", "b")},
    LINEAR: {"weight": ("kernel", "weight", "w"), "bias": ("bias", "b")},
    EMBEDDING: {"weight": ("embedding", "weight")},
    NORM: {
        "weight": ("scale", "weight", "gamma"),
        "bias": ("bias", "beta"),
        "running_mean": ("mean", "running_mean"),
        "running_var": ("var", "running_var"),
    },
    OTHER: {},
}


def candidates(
    kind: str, leaf: str, rank: int, *, groups: int, transpose_kernel: bool
) -> list[LayoutConversion]:
    """The conversions that may hold for a leaf, the conventional one first."""
    if leaf != "weight" or kind not in (CONVOLUTION, TRANSPOSED, LINEAR):
        return [SAME]
    kernel = tuple(range(2, rank))
    if kind == LINEAR:
        return [LayoutConversion("linear", (1, 0)), SAME]
    if kind == CONVOLUTION:
        # A 1x1 convolution may be a Dense in Flax: the caller drops the kernel axes by its shape.
        return [LayoutConversion("convolution", (*kernel, 1, 0)), SAME]
    if transpose_kernel:
        return [LayoutConversion("transposed as gradient", (*kernel, 1, 0)), SAME]
    spatial = tuple(range(rank - 2))
    return [LayoutConversion("transposed", (*kernel, 0, 1), spatial, groups), SAME]


def fitting(
    kind: str,
    leaf: str,
    torch_shape: tuple[int, ...],
    flax_shape: tuple[int, ...],
    *,
    groups: int,
    transpose_kernel: bool,
) -> list[LayoutConversion]:
    """The conversions that turn `torch_shape` into `flax_shape`; axes of length one may come and go."""
    conversions = []
    options = {"groups": groups, "transpose_kernel": transpose_kernel}
    for conversion in candidates(kind, leaf, len(torch_shape), **options):
        shape = conversion.flax_shape(torch_shape)
        if shape == flax_shape:
            conversions.append(conversion)
        elif [n for n in shape if n != 1] == [n for n in flax_shape if n != 1]:
            name = f"{conversion.name}, reshaped"
            reshaped = dataclasses.replace(conversion, name=name, shape=flax_shape, full_shape=shape)
            conversions.append(reshaped)
    return conversions
