"""A batch in blocks of images that stay in the cache, one after the other.

The loops slice the whole arrays. Rows of an array of blocks, which `jax.lax.scan` and `map` take, would be written to
memory once more: XLA sees an operation of its own in the reshape, and computes what comes before it again for it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array


def sum_blocks(function: Callable[..., Array], arrays: tuple[Array, ...], size: int) -> Array:
    """The sum over all blocks of what `function` gives for the rows of `arrays` in a block.

    Arguments:
        function: from as many arrays, of any number of rows, to an array.
        arrays: with the same number of rows.
        size: rows of a block at most; what is left over is a block of its own.
    """
    count, left, size = _divided(arrays[0].shape[0], size)
    if count == 0 or (count == 1 and not left):
        return function(*arrays)

    def block(index: Array | int, length: int) -> Array:
        return function(*(jax.lax.dynamic_slice_in_dim(one, index * size, length) for one in arrays))

    if left:
        first = block(count, left)
    else:
        out = jax.eval_shape(function, *(one[:size] for one in arrays))
        first = jnp.zeros(out.shape, out.dtype)
    return jax.lax.fori_loop(0, count, lambda index, total: total + block(index, size), first)


def map_blocks(function: Callable[[Array], Array], array: Array, size: int) -> Array:
    """What `function` gives for the rows of `array`, a block at a time.

    Arguments:
        function: from an array of any number of rows to one of as many.
        array: with any number of rows.
        size: rows of a block at most; what is left over is a block of its own.
    """
    count, left, size = _divided(array.shape[0], size)
    if count == 0 or (count == 1 and not left):
        return function(array)
    out = jax.eval_shape(function, array)

    def write(index: Array | int, result: Array, length: int = size) -> Array:
        block = jax.lax.dynamic_slice_in_dim(array, index * size, length)
        return jax.lax.dynamic_update_slice_in_dim(result, function(block), index * size, 0)

    # Filled with a number of the data's: constants are made once for all loops, and then copied for each.
    filled = jnp.broadcast_to(
        jax.lax.slice(array, (0,) * array.ndim, (1,) * array.ndim), (1,) * len(out.shape)
    )
    result = jax.lax.fori_loop(0, count, write, jnp.broadcast_to(filled, out.shape))
    return write(count, result, left) if left else result


def _divided(rows: int, size: int) -> tuple[int, int, int]:
    """(how many blocks, rows left over, rows of a block): none is left over where blocks of half the size allow it."""
    even = next((each for each in range(min(size, rows), size // 2, -1) if rows % each == 0), size)
    return *divmod(rows, even), even
