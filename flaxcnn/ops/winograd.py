"""Winograd's minimal filtering F(2x2, 3x3): a 3x3 convolution of stride 1 with 2.25 times fewer multiplications.

A tile of 2x2 outputs sees 4x4 inputs. With d the input tile and k the kernel (both for one channel),

    y = A^T [ (G k G^T) * (B^T d B) ] A,

where * multiplies element by element and

    B^T = | 1  0 -1  0 |      G = | 1    0    0  |      A^T = | 1  1  1  0 |
          | 0  1  1  0 |          | 1/2  1/2  1/2|            | 0  1 -1 -1 |
          | 0 -1  1  0 |          | 1/2 -1/2  1/2|
          | 0  1  0 -1 |          | 0    0    1  |

Over all channels each of the 16 elements is a matrix product, [tiles, ci] with [ci, co]. The rule is bilinear, so
the gradient of the kernel is its transpose: with g the cotangent of a tile,

    dL/dk = G^T [ sum over tiles of (B^T d B) * (A g A^T) ] G.

The gradient of the input is a convolution of the cotangent with the flipped kernel, so the forward rule serves.

The products are exact in real arithmetic; in float32 the sums of four and the halves round about as much as another
order of summation does (`experiments.rounding` measures it). F(4x4, 3x3) would save more and rounds ten times more.

Reference: Lavin and Gray 2016, Fast Algorithms for Convolutional Neural Networks, section 4.1.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from flaxcnn.ops.blocks import sum_blocks
from flaxcnn.ops.geometry import Axis, axis

_G = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]])
# Elements of one transformed input, of the 16, that a block of images may have: 4 MiB in float32 in all, which stays
# in the cache of the processors that this was measured on.
_BLOCK = 2**16


def convolution(
    x: Float[Array, "n h w ci"], kernel: Float[Array, "3 3 ci co"], spatial: tuple[Axis, Axis]
) -> Float[Array, "n ho wo co"]:
    """The 3x3 convolution of stride 1 that `conv2d` defines; any size of image, any padding.

    Arguments:
        x: images.
        kernel: not flipped.
        spatial: the geometry; window 3, stride 1, dilation 1.
    """
    height, width = spatial
    transformed = jnp.reshape(_kernel_transform(kernel), (16, *kernel.shape[2:]))

    def one(image: Float[Array, "h w ci"]) -> Float[Array, "ho wo co"]:
        tiles = _input_tiles(image, spatial)
        products = [tile @ transformed[index] for index, tile in enumerate(tiles)]
        return _output(products, (_tiles(height), _tiles(width)))[: height.output, : width.output]

    return jax.lax.map(one, x, batch_size=block_size(spatial, max(kernel.shape[2:])))


def input_gradient(
    cotangent: Float[Array, "n ho wo co"], kernel: Float[Array, "3 3 ci co"], spatial: tuple[Axis, Axis]
) -> Float[Array, "n h w ci"]:
    """The gradient of the images of `convolution`, which may be padded by 2 at most: a convolution too."""
    height, width = (
        axis(one.output, 3, 1, 1, (2 - one.before, one.length - one.output + one.before)) for one in spatial
    )
    return convolution(cotangent, jnp.transpose(kernel[::-1, ::-1], (0, 1, 3, 2)), (height, width))


def kernel_gradient(
    cotangent: Float[Array, "n ho wo co"], x: Float[Array, "n h w ci"], spatial: tuple[Axis, Axis]
) -> Float[Array, "3 3 ci co"]:
    """The gradient of the kernel of `convolution`."""
    channels = x.shape[3], cotangent.shape[3]

    def block(images: Float[Array, "b h w ci"], cotangents: Float[Array, "b ho wo co"]) -> list[Array]:
        tiles = _input_tiles(images, spatial), _cotangent_tiles(cotangents, spatial)
        return [jax.lax.dot_general(a, b, (((0,), (0,)), ((), ()))) for a, b in zip(*tiles, strict=True)]

    sums = sum_blocks(block, (x, cotangent), block_size(spatial, max(channels)))
    side = jnp.asarray(_G, x.dtype)
    products = jnp.reshape(jnp.stack(sums), (4, 4, *channels))
    half = jnp.einsum("ia,ijcd->ajcd", side, products, precision=jax.lax.Precision.HIGHEST)
    return jnp.einsum("ajcd,jb->abcd", half, side, precision=jax.lax.Precision.HIGHEST)


def block_size(spatial: tuple[Axis, Axis], channels: int) -> int:
    """How many images are transformed at a time."""
    return max(1, _BLOCK // (_tiles(spatial[0]) * _tiles(spatial[1]) * channels))


def _tiles(axis: Axis) -> int:
    return -(-axis.output // 2)


def _kernel_transform(kernel: Float[Array, "3 3 ci co"]) -> Float[Array, "4 4 ci co"]:
    """G k G^T."""
    side = jnp.asarray(_G, kernel.dtype)
    half = jnp.einsum("ia,abcd->ibcd", side, kernel, precision=jax.lax.Precision.HIGHEST)
    return jnp.einsum("ibcd,jb->ijcd", half, side, precision=jax.lax.Precision.HIGHEST)


def _input_tiles(x: Float[Array, "*n h w ci"], spatial: tuple[Axis, Axis]) -> list[Float[Array, "tiles ci"]]:
    """B^T d B: the 16 elements, in order, of every tile of the padded images."""
    padding = [(one.before, 2 * _tiles(one) + 2 - one.length - one.before) for one in spatial]
    # The barrier keeps XLA from computing the rows again for each of the columns that use them.
    rows = jax.lax.optimization_barrier(_overlapping(_padded(x, padding), _tiles(spatial[0]), -3))
    return [
        jnp.reshape(one, (-1, x.shape[-1]))
        for row in rows
        for one in _overlapping(row, _tiles(spatial[1]), -2)
    ]


def _padded(x: Float[Array, "*n h w c"], padding: list[tuple[int, int]]) -> Float[Array, "*n h2 w2 c"]:
    return jnp.pad(x, ((0, 0),) * (x.ndim - 3) + (*padding, (0, 0)))


def _overlapping(x: Float[Array, "*n r s c"], tiles: int, axis: int) -> list[Float[Array, "*n r2 s2 c"]]:
    """B^T along an axis, whose tiles of four begin at every second position."""
    first, second, third, fourth = (_every_second(x, start, tiles, axis) for start in range(4))
    return [first - third, second + third, third - second, second - fourth]


def _every_second(
    x: Float[Array, "*n r s c"], start: int, count: int, axis: int
) -> Float[Array, "*n r2 s2 c"]:
    return jax.lax.slice_in_dim(x, start, start + 2 * count - 1, 2, axis)


def _cotangent_tiles(
    cotangent: Float[Array, "*n ho wo co"], spatial: tuple[Axis, Axis]
) -> list[Float[Array, "tiles co"]]:
    """A g A^T: the 16 elements, in order, of every tile of cotangents; odd sizes are filled up with zeros."""
    padding = [(0, 2 * _tiles(one) - one.output) for one in spatial]
    rows = jax.lax.optimization_barrier(_spread(_padded(cotangent, padding), _tiles(spatial[0]), -3))
    return [
        jnp.reshape(one, (-1, cotangent.shape[-1]))
        for row in rows
        for one in _spread(row, _tiles(spatial[1]), -2)
    ]


def _spread(x: Float[Array, "*n r s c"], tiles: int, axis: int) -> list[Float[Array, "*n r2 s2 c"]]:
    """A along an axis."""
    first, second = (_every_second(x, start, tiles, axis) for start in range(2))
    return [first, first + second, first - second, -second]


def _output(products: Sequence[Float[Array, "tiles co"]], grid: tuple[int, int]) -> Float[Array, "h2 w2 co"]:
    """A^T m A for every tile of an image, and the tiles put together."""
    rows, columns = grid
    m = [jnp.reshape(one, (rows, columns, -1)) for one in products]
    halves = jax.lax.optimization_barrier([_gathered(m[4 * i : 4 * i + 4]) for i in range(4)])
    left, right = (_gathered([half[side] for half in halves]) for side in range(2))
    stacked = jnp.stack([jnp.stack([left[i], right[i]], axis=2) for i in range(2)], axis=1)
    return jnp.reshape(stacked, (2 * rows, 2 * columns, -1))


def _gathered(m: Sequence[Array]) -> tuple[Array, Array]:
    """A^T along an axis."""
    return m[0] + m[1] + m[2], m[1] - m[2] - m[3]
