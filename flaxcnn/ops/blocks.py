"""A sum over a batch, in blocks of images that stay in the cache, one after the other."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array


def sum_blocks(function: Callable[..., list[Array]], arrays: tuple[Array, ...], size: int) -> list[Array]:
    """The sums over all blocks of what `function` gives for the rows of `arrays` in a block.

    `jax.lax.map` with a batch size is the like for what is not added up.

    Arguments:
        function: from as many arrays, of any number of rows, to a list of arrays.
        arrays: with the same number of rows.
        size: rows of a block; what is left over is a block of its own.
    """
    count, left = divmod(arrays[0].shape[0], size)
    if count == 0 or (count == 1 and not left):
        return function(*arrays)
    whole = tuple(jnp.reshape(one[: count * size], (count, size, *one.shape[1:])) for one in arrays)

    def add(sums: list[Array], block: tuple[Array, ...]) -> tuple[list[Array], None]:
        return [a + b for a, b in zip(sums, function(*block), strict=True)], None

    if left:
        first = function(*(one[count * size :] for one in arrays))
    else:
        shapes = jax.eval_shape(function, *(one[0] for one in whole))
        first = [jnp.zeros(one.shape, one.dtype) for one in shapes]
    return jax.lax.scan(add, first, whole)[0]
