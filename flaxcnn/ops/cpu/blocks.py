"""Process a batch in blocks of images that fit the cache, one block after the other.

The loops slice the whole arrays. `jax.lax.scan` and `map` instead take an array of blocks, which is written to memory
once more: to XLA the reshape to blocks is a separate operation, for which it computes the operations before it again.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array


def sum_blocks(function: Callable[..., Array], arrays: tuple[Array, ...], size: int) -> Array:
    """The sum of `function`, applied to the rows of `arrays` in each block, over all blocks.

    Args:
        function: takes as many arrays, with any number of rows, and returns an array.
        arrays: all have the same number of rows.
        size: the most rows of a block; the remaining rows form a block of their own.
    """
    count, left, size = _divided(arrays[0].shape[0], size)
    if count == 0 or (count == 1 and not left):
        return function(*arrays)

    def block(index: Array | int, length: int) -> Array:
        return function(*(jax.lax.dynamic_slice_in_dim(array, index * size, length) for array in arrays))

    if left:
        first = block(count, left)
    else:
        out = jax.eval_shape(function, *(array[:size] for array in arrays))
        first = jnp.zeros(out.shape, out.dtype)
    return jax.lax.fori_loop(0, count, lambda index, total: total + block(index, size), first)


def map_blocks(function: Callable[[Array], Array], array: Array, size: int) -> Array:
    """The rows that `function` returns for the rows of `array`, computed one block at a time.

    Args:
        function: takes an array with any number of rows and returns one with the same number.
        array: has any number of rows.
        size: the most rows of a block; the remaining rows form a block of their own.
    """
    count, left, size = _divided(array.shape[0], size)
    if count == 0 or (count == 1 and not left):
        return function(array)
    out = jax.eval_shape(function, array)

    def write(index: Array | int, result: Array, length: int = size) -> Array:
        block = jax.lax.dynamic_slice_in_dim(array, index * size, length)
        return jax.lax.dynamic_update_slice_in_dim(result, function(block), index * size, 0)

    # Filled with an element of the array: XLA would make a constant once for all loops and copy it for each loop.
    filled = jnp.broadcast_to(
        jax.lax.slice(array, (0,) * array.ndim, (1,) * array.ndim), (1,) * len(out.shape)
    )
    result = jax.lax.fori_loop(0, count, write, jnp.broadcast_to(filled, out.shape))
    return write(count, result, left) if left else result


def _divided(rows: int, size: int) -> tuple[int, int, int]:
    """(number of blocks, remaining rows, rows of a block); none remain if `rows` has a divisor above half of `size`."""
    even = next((divisor for divisor in range(min(size, rows), size // 2, -1) if rows % divisor == 0), size)
    return *divmod(rows, even), even
