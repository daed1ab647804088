"""The activations that a port may take for one another, in float64."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

IDENTITY, RELU = "no activation", "ReLU"
GELU, GELU_TANH = "GELU by erf", "GELU by tanh"
_SIXTH = 1.0 / 6.0


def _hard_sigmoid(x: torch.Tensor) -> torch.Tensor:
    return torch.clamp(x * _SIXTH + 0.5, 0.0, 1.0)


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    IDENTITY: lambda x: x,
    RELU: torch.relu,
    GELU: F.gelu,
    GELU_TANH: lambda x: F.gelu(x, approximate="tanh"),
    "SiLU": lambda x: x * torch.sigmoid(x),
    "ReLU6": lambda x: torch.clamp(x, 0.0, 6.0),
    "LeakyReLU, slope 0.01": lambda x: F.leaky_relu(x, 0.01),
    "LeakyReLU, slope 0.1": lambda x: F.leaky_relu(x, 0.1),
    "LeakyReLU, slope 0.2": lambda x: F.leaky_relu(x, 0.2),
    "LeakyReLU, slope 0.3": lambda x: F.leaky_relu(x, 0.3),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hard-sigmoid": _hard_sigmoid,
    "hard-swish": lambda x: x * _hard_sigmoid(x),
    "Mish": lambda x: x * torch.tanh(F.softplus(x, threshold=1e9)),
    "ELU": F.elu,
    "SELU": F.selu,
    "softplus": lambda x: F.softplus(x, threshold=1e9),
    "hard-tanh": lambda x: torch.clamp(x, -1.0, 1.0),
    "sigmoid-GELU, x sigmoid(1.702 x)": lambda x: x * torch.sigmoid(1.702 * x),
    "softsign": F.softsign,
    "log-sigmoid": F.logsigmoid,
    "hard-sigmoid, slope 0.2": lambda x: torch.clamp(0.2 * x + 0.5, 0.0, 1.0),
    "absolute value": torch.abs,
    "square": torch.square,
    "softmax": lambda x: torch.softmax(x, 1),
    "log-softmax": lambda x: torch.log_softmax(x, 1),
}
# Those that have a kink at zero, and PyTorch's derivative there.
AT_ZERO = {
    RELU: 0.0,
    "LeakyReLU, slope 0.01": 0.01,
    "LeakyReLU, slope 0.1": 0.1,
    "LeakyReLU, slope 0.2": 0.2,
    "LeakyReLU, slope 0.3": 0.3,
}
# What Flax calls them, for the fix.
FLAX_NAMES = {
    RELU: "jax.nn.relu",
    GELU: "jax.nn.gelu(x, approximate=False)",
    GELU_TANH: "jax.nn.gelu(x, approximate=True)",
    "SiLU": "jax.nn.silu",
    "ReLU6": "jax.nn.relu6",
    "LeakyReLU, slope 0.01": "jax.nn.leaky_relu(x, 0.01)",
    "LeakyReLU, slope 0.1": "jax.nn.leaky_relu(x, 0.1)",
    "LeakyReLU, slope 0.2": "jax.nn.leaky_relu(x, 0.2)",
    "tanh": "jnp.tanh",
    "sigmoid": "jax.nn.sigmoid",
    "hard-sigmoid": "jax.nn.hard_sigmoid",
    "hard-swish": "jax.nn.hard_swish",
    "Mish": "jax.nn.mish",
    "ELU": "jax.nn.elu",
    "SELU": "jax.nn.selu",
    "softplus": "jax.nn.softplus",
    "hard-tanh": "jax.nn.hard_tanh",
    "softsign": "jax.nn.soft_sign",
    "log-sigmoid": "jax.nn.log_sigmoid",
    "softmax": "jax.nn.softmax",
    "log-softmax": "jax.nn.log_softmax",
}
# What a class of PyTorch's module in the connection says is tried first.
CLASSES = {
    "ReLU": RELU,
    "ReLU6": "ReLU6",
    "GELU": GELU,
    "SiLU": "SiLU",
    "LeakyReLU": "LeakyReLU, slope 0.01",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Hardsigmoid": "hard-sigmoid",
    "Hardswish": "hard-swish",
    "Mish": "Mish",
    "ELU": "ELU",
    "SELU": "SELU",
    "Softplus": "softplus",
    "Hardtanh": "hard-tanh",
    "Softsign": "softsign",
    "LogSigmoid": "log-sigmoid",
    "Softmax": "softmax",
    "LogSoftmax": "log-softmax",
}


def apply(name: str, x: torch.Tensor, tie: float | None = None) -> torch.Tensor:
    """The activation of that name; `tie` is the derivative at zero of one with a kink there, if not PyTorch's."""
    y = ACTIVATIONS[name](x)
    return y if tie is None or name not in AT_ZERO else torch.where(x == 0, tie * x, y)
