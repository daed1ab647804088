"""Weight initialisers with PyTorch's distributions, for kernels stored as HWIO or [in, out]."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Initialiser = Callable[[Key[Array, ""], tuple[int, ...]], Float[Array, "..."]]


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
    bound = 1.0 / math.sqrt(fans(shape)[0])
    return jax.random.uniform(key, shape, dtype=jnp.float32, minval=-bound, maxval=bound)


def bias_for(kernel_shape: tuple[int, ...]) -> Initialiser:
    """PyTorch's default bias for a kernel of `kernel_shape`: `U(-1/sqrt(fan_in), 1/sqrt(fan_in))`."""
    bound = 1.0 / math.sqrt(fans(kernel_shape)[0])

    def initialise(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
        return jax.random.uniform(key, shape, dtype=jnp.float32, minval=-bound, maxval=bound)

    return initialise


def kaiming_normal_fan_out(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """`N(0, 2 / fan_out)`, what torchvision's ResNets give every convolution (He et al. 2015, eq. 14)."""
    deviation = math.sqrt(2.0 / fans(shape)[1])
    return deviation * jax.random.normal(key, shape, dtype=jnp.float32)
