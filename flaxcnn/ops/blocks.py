"""A batch in blocks of images that stay in the cache, one after the other."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array


def map_blocks(function: Callable[[Array], Array], x: Array, size: int) -> Array:
    """`function` of every block of `size` rows, joined again; the rows that are left over are a block of their own."""
    whole, rest = _split((x,), size)
    parts = []
    if whole is not None:
        blocks = jax.lax.map(lambda arrays: function(*arrays), whole)
        parts.append(jnp.reshape(blocks, (-1, *blocks.shape[2:])))
    if rest is not None:
        parts.append(function(*rest))
    return jnp.concatenate(parts)


def sum_blocks(function: Callable[..., list[Array]], arrays: tuple[Array, ...], size: int) -> list[Array]:
    """The sums over all blocks of what `function` gives for the rows of `arrays` in a block."""
    whole, rest = _split(arrays, size)

    def add(sums: list[Array], block: tuple[Array, ...]) -> tuple[list[Array], None]:
        return [a + b for a, b in zip(sums, function(*block), strict=True)], None

    if whole is None:
        return function(*arrays)
    if rest is None:
        shapes = jax.eval_shape(function, *(array[0] for array in whole))
        first = [jnp.zeros(one.shape, one.dtype) for one in shapes]
    else:
        first = function(*rest)
    return jax.lax.scan(add, first, whole)[0]


def _split(arrays: tuple[Array, ...], size: int) -> tuple[tuple[Array, ...] | None, tuple[Array, ...] | None]:
    """The arrays as [blocks, size, ...], and the rows that are left over; None for what is empty."""
    count = arrays[0].shape[0] // size
    if arrays[0].shape[0] <= size:
        return None, arrays
    whole = tuple(jnp.reshape(array[: count * size], (count, size, *array.shape[1:])) for array in arrays)
    rest = tuple(array[count * size :] for array in arrays)
    return whole, rest if rest[0].shape[0] else None
