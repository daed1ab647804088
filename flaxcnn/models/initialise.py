"""Weight initialisers with PyTorch's distributions, for kernels of shape HWIO or [in, out]."""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

Initialiser = Callable[[Key[Array, ""], tuple[int, ...]], Float[Array, "..."]]

# Numbers are drawn in pieces of one size. So a whole network compiles one program for each distribution, instead of one
# for every shape, which took most of the time of building it.
PIECE = 2**16


_shapes_only = contextvars.ContextVar("shapes_only", default=False)


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Draw nothing inside this context: `jax.eval_shape` needs only the shapes."""
    token = _shapes_only.set(True)
    try:
        yield
    finally:
        _shapes_only.reset(token)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Fan-in and fan-out of a kernel `[..., in / groups, out]`, counted as PyTorch counts them.

    `fan_in = receptive field * in / groups` and `fan_out = receptive field * out`; the fan-out of a
    grouped convolution is *not* divided by its groups (`torch.nn.init._calculate_fan_in_and_fan_out`).
    """
    receptive_field = math.prod(shape[:-2])
    return receptive_field * shape[-2], receptive_field * shape[-1]


def uniform_fan_in(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """`U(-1/sqrt(fan_in), 1/sqrt(fan_in))`, the default of `torch.nn.Conv2d` and `torch.nn.Linear`.

    PyTorch writes it as `kaiming_uniform_(a=sqrt(5))`, whose bound `sqrt(6 / ((1 + 5) fan_in))` is the same.
    """
    return _scaled(_uniform_piece, key, shape, 1.0 / math.sqrt(fans(shape)[0]))


def bias_for(kernel_shape: tuple[int, ...]) -> Initialiser:
    """PyTorch's default bias for a kernel of `kernel_shape`: `U(-1/sqrt(fan_in), 1/sqrt(fan_in))`."""
    bound = 1.0 / math.sqrt(fans(kernel_shape)[0])

    def initialise(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return _scaled(_uniform_piece, key, shape, bound)

    return initialise


def kaiming_normal_fan_out(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """`N(0, 2 / fan_out)`, as for every convolution of torchvision's ResNets (He et al. 2015, eq. 14)."""
    return _scaled(_normal_piece, key, shape, math.sqrt(2.0 / fans(shape)[1]))


@jax.jit
def _normal_piece(key: Key[Array, ""], index: int | Array) -> Float[Array, " n"]:
    return jax.random.normal(jax.random.fold_in(key, index), (PIECE,), jnp.float32)


@jax.jit
def _uniform_piece(key: Key[Array, ""], index: int | Array) -> Float[Array, " n"]:
    return jax.random.uniform(jax.random.fold_in(key, index), (PIECE,), jnp.float32, minval=-1.0, maxval=1.0)


def _scaled(
    piece: Callable[..., Float[Array, " n"]], key: Key[Array, ""], shape: tuple[int, ...], scale: float
) -> Float[Array, "..."]:
    """`scale` times the first `prod(shape)` draws of the pieces 0, 1, ..., in this shape."""
    if _shapes_only.get():
        return jnp.zeros(shape, jnp.float32)
    size = math.prod(shape)
    pieces = [piece(key, index) for index in range(-(-size // PIECE))]
    # NumPy concatenates and slices without compiling; if the network is only traced, JAX must do it.
    numpy = jnp if isinstance(key, jax.core.Tracer) else np
    drawn = numpy.concatenate([numpy.asarray(part) for part in pieces])[:size].reshape(shape)
    return jnp.asarray(drawn * numpy.float32(scale))
