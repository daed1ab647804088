"""Winograd's minimal filtering F(2x2, 3x3): a 3x3 convolution of stride 1 with 2.25 times fewer multiplications.

A tile of 2x2 outputs depends on 4x4 inputs. With d the input tile and k the kernel (both for one channel),

    y = A^T [ (G k G^T) * (B^T d B) ] A,

where * multiplies element by element and

    B^T = | 1  0 -1  0 |      G = | 1    0    0  |      A^T = | 1  1  1  0 |
          | 0  1  1  0 |          | 1/2  1/2  1/2|            | 0  1 -1 -1 |
          | 0 -1  1  0 |          | 1/2 -1/2  1/2|
          | 0  1  0 -1 |          | 0    0    1  |

Over all channels each of the 16 elements is a matrix product of [tiles, ci] and [ci, co]. The rule is bilinear, so
its transpose gives the gradient of the kernel: with g the cotangent of a tile,

    dL/dk = G^T [ sum over tiles of (B^T d B) * (A g A^T) ] G.

The gradient of the input is a convolution of the cotangent with the flipped kernel, so the forward rule computes it.

The rule is exact in real arithmetic. In float32 its sums and halves round about as much as a direct sum in another
order (`experiments.performance.rounding` measures this). F(4x4, 3x3) would need fewer multiplications, but its
rounding is ten times larger.

Reference: Lavin and Gray 2016, Fast Algorithms for Convolutional Neural Networks, section 4.1.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxcnn.ops.cpu.blocks import map_blocks, sum_blocks
from flaxcnn.ops.cpu.parts import outer_products
from flaxcnn.ops.geometry import Axis, axis

# The most elements and rows that one of the 16 transformed inputs of a block of images may have. In float32 the 16
# then take at most 8 MiB, which fits the caches of the processors on which this was measured.
_ELEMENTS, _ROWS = 2**17, 1024


def convolution(
    x: Float[Array, "n h w ci"], kernel: Float[Array, "3 3 ci co"], spatial: tuple[Axis, Axis]
) -> Float[Array, "n ho wo co"]:
    """The 3x3 convolution of stride 1 that `conv2d` defines, for any image size and any padding.

    Args:
        x: images.
        kernel: not flipped.
        spatial: the geometry, with window 3, stride 1 and dilation 1.
    """
    return _convolution(x, _kernel_transform(kernel), spatial, exchanged=False)


def input_gradient(
    cotangent: Float[Array, "n ho wo co"], kernel: Float[Array, "3 3 ci co"], spatial: tuple[Axis, Axis]
) -> Float[Array, "n h w ci"]:
    """The gradient of the images of `convolution`: a convolution too. The padding may be at most 2.

    Its kernel is flipped, and its channels are exchanged. A flip along an axis exchanges the first and the last row of
    G k and keeps the others. The matrix products exchange the channels, which saves a transposed copy.
    """
    height, width = (
        axis(old.output, 3, 1, 1, (2 - old.before, old.length - old.output + old.before)) for old in spatial
    )
    transformed, flipped = _kernel_transform(kernel), (3, 1, 2, 0)
    return _convolution(
        cotangent, [transformed[4 * i + j] for i in flipped for j in flipped], (height, width), exchanged=True
    )


def _convolution(
    x: Float[Array, "n h w c"],
    kernels: Sequence[Float[Array, "c1 c2"]],
    spatial: tuple[Axis, Axis],
    *,
    exchanged: bool,
) -> Float[Array, "n ho wo d"]:
    """Convolve with a transformed kernel; `exchanged` says that its last axis is that of the channels of `x`."""
    height, width = spatial
    contracted = (((1,), (int(exchanged),)), ((), ()))

    def block(images: Float[Array, "b h w c"]) -> Float[Array, "b ho wo d"]:
        tiles = _input_tiles(images, spatial)
        products = [jax.lax.dot_general(*pair, contracted) for pair in zip(tiles, kernels, strict=True)]
        # The images of a block are treated as one tall image.
        whole = _output(products, (images.shape[0] * _tiles(height), _tiles(width)))
        outputs = jnp.reshape(whole, (images.shape[0], 2 * _tiles(height), *whole.shape[1:]))
        return outputs[:, : height.output, : width.output]

    return map_blocks(block, x, block_size(spatial, max(kernels[0].shape)))


def kernel_gradient(
    cotangent: Float[Array, "n ho wo co"], x: Float[Array, "n h w ci"], spatial: tuple[Axis, Axis]
) -> Float[Array, "3 3 ci co"]:
    """The gradient of the kernel of `convolution`."""
    channels = x.shape[3], cotangent.shape[3]

    def block(images: Float[Array, "b h w ci"], cotangents: Float[Array, "b ho wo co"]) -> Array:
        tiles = _input_tiles(images, spatial), _cotangent_tiles(cotangents, spatial)
        # One product at a time: to stack the tiles for one batched product, XLA would copy them element by element.
        return jnp.stack([outer_products(*pair) for pair in zip(*tiles, strict=True)])

    sums = sum_blocks(block, (x, cotangent), block_size(spatial, max(channels)))
    products = jnp.reshape(sums, (4, 4, *channels))
    rows = [_merged([products[i, j] for i in range(4)]) for j in range(4)]
    return jnp.stack([jnp.stack(_merged(list(row))) for row in zip(*rows, strict=True)])


def block_size(spatial: tuple[Axis, Axis], channels: int) -> int:
    """The number of images in a block."""
    rows = min(_ROWS, _ELEMENTS // channels)
    return max(1, rows // (_tiles(spatial[0]) * _tiles(spatial[1])))


def _tiles(axis: Axis) -> int:
    return -(-axis.output // 2)


def _kernel_transform(kernel: Float[Array, "3 3 ci co"]) -> list[Float[Array, "ci co"]]:
    """The 16 elements of G k G^T, row by row."""
    columns = [_mixed([kernel[a, b] for a in range(3)]) for b in range(3)]
    return [element for row in zip(*columns, strict=True) for element in _mixed(list(row))]


def _mixed(k: Sequence[Array]) -> list[Array]:
    """Apply G along an axis."""
    outer, middle = (k[0] + k[2]) / 2, k[1] / 2
    return [k[0], outer + middle, outer - middle, k[2]]


def _merged(m: Sequence[Array]) -> list[Array]:
    """Apply G^T along an axis."""
    total, difference = (m[1] + m[2]) / 2, (m[1] - m[2]) / 2
    return [m[0] + total, difference, total + m[3]]


def _input_tiles(x: Float[Array, "*n h w ci"], spatial: tuple[Axis, Axis]) -> list[Float[Array, "tiles ci"]]:
    """The 16 elements of B^T d B, row by row, for every tile of the padded images."""
    padding = [(axis.before, 2 * _tiles(axis) + 2 - axis.length - axis.before) for axis in spatial]
    # The barrier keeps XLA from computing the rows again for every column that uses them.
    rows = jax.lax.optimization_barrier(_overlapping(_padded(x, padding), _tiles(spatial[0]), -3))
    return [
        jnp.reshape(element, (-1, x.shape[-1]))
        for row in rows
        for element in _overlapping(row, _tiles(spatial[1]), -2)
    ]


def _padded(x: Float[Array, "*n h w c"], padding: list[tuple[int, int]]) -> Float[Array, "*n h2 w2 c"]:
    return jnp.pad(x, ((0, 0),) * (x.ndim - 3) + (*padding, (0, 0)))


def _overlapping(x: Float[Array, "*n r s c"], tiles: int, axis: int) -> list[Float[Array, "*n r2 s2 c"]]:
    """Apply B^T along an axis, to tiles of four that begin at every second position."""
    first, second, third, fourth = (_every_second(x, start, tiles, axis) for start in range(4))
    return [first - third, second + third, third - second, second - fourth]


def _every_second(
    x: Float[Array, "*n r s c"], start: int, count: int, axis: int
) -> Float[Array, "*n r2 s2 c"]:
    return jax.lax.slice_in_dim(x, start, start + 2 * count - 1, 2, axis)


def _cotangent_tiles(
    cotangent: Float[Array, "*n ho wo co"], spatial: tuple[Axis, Axis]
) -> list[Float[Array, "tiles co"]]:
    """The 16 elements of A g A^T, row by row, for every tile of cotangents; odd sizes are padded with zeros."""
    padding = [(0, 2 * _tiles(axis) - axis.output) for axis in spatial]
    rows = jax.lax.optimization_barrier(_spread(_padded(cotangent, padding), _tiles(spatial[0]), -3))
    return [
        jnp.reshape(element, (-1, cotangent.shape[-1]))
        for row in rows
        for element in _spread(row, _tiles(spatial[1]), -2)
    ]


def _spread(x: Float[Array, "*n r s c"], tiles: int, axis: int) -> list[Float[Array, "*n r2 s2 c"]]:
    """Apply A along an axis."""
    first, second = (_every_second(x, start, tiles, axis) for start in range(2))
    return [first, first + second, first - second, -second]


def _output(products: Sequence[Float[Array, "tiles co"]], grid: tuple[int, int]) -> Float[Array, "h2 w2 co"]:
    """Compute A^T m A for every tile of an image, and join the tiles."""
    rows, columns = grid
    m = [jnp.reshape(product, (rows, columns, -1)) for product in products]
    halves = jax.lax.optimization_barrier([_gathered(m[4 * i : 4 * i + 4]) for i in range(4)])
    left, right = (_gathered([half[side] for half in halves]) for side in range(2))
    stacked = jnp.stack([jnp.stack([left[i], right[i]], axis=2) for i in range(2)], axis=1)
    return jnp.reshape(stacked, (2 * rows, 2 * columns, -1))


def _gathered(m: Sequence[Array]) -> tuple[Array, Array]:
    """Apply A^T along an axis."""
    return m[0] + m[1] + m[2], m[1] - m[2] - m[3]
