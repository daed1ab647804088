"""The activations that a port may exchange for one another."""

import enum
from collections.abc import Callable

import torch
from torch.nn import functional as F


class Activation(enum.Enum):
    """An activation by its name; a detail tells it from others of the same name."""

    IDENTITY = ("no activation",)
    RELU = ("ReLU",)
    GELU = ("GELU by erf",)
    GELU_TANH = ("GELU by tanh",)
    SILU = ("SiLU",)
    RELU6 = ("ReLU6",)
    LEAKY_RELU_0_01 = ("LeakyReLU", "slope 0.01")
    LEAKY_RELU_0_1 = ("LeakyReLU", "slope 0.1")
    LEAKY_RELU_0_2 = ("LeakyReLU", "slope 0.2")
    LEAKY_RELU_0_3 = ("LeakyReLU", "slope 0.3")
    TANH = ("tanh",)
    SIGMOID = ("sigmoid",)
    HARD_SIGMOID = ("hard-sigmoid",)
    HARD_SWISH = ("hard-swish",)
    MISH = ("Mish",)
    ELU = ("ELU",)
    SELU = ("SELU",)
    SOFTPLUS = ("softplus",)
    HARD_TANH = ("hard-tanh",)
    SIGMOID_GELU = ("sigmoid-GELU", "x sigmoid(1.702 x)")
    SOFTSIGN = ("softsign",)
    LOG_SIGMOID = ("log-sigmoid",)
    HARD_SIGMOID_0_2 = ("hard-sigmoid", "slope 0.2")
    ABSOLUTE_VALUE = ("absolute value",)
    SQUARE = ("square",)
    SOFTMAX = ("softmax",)
    LOG_SOFTMAX = ("log-softmax",)

    def __init__(self, title: str, detail: str = "") -> None:
        self.title = title
        self.detail = detail

    def describe(self) -> str:
        """The activation in words."""
        return f"{self.title}, {self.detail}" if self.detail else self.title


_SIXTH = 1.0 / 6.0


def _hard_sigmoid(x: torch.Tensor) -> torch.Tensor:
    return torch.clamp(x * _SIXTH + 0.5, 0.0, 1.0)


ACTIVATIONS: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
    Activation.IDENTITY: lambda x: x,
    Activation.RELU: torch.relu,
    Activation.GELU: F.gelu,
    Activation.GELU_TANH: lambda x: F.gelu(x, approximate="tanh"),
    Activation.SILU: lambda x: x * torch.sigmoid(x),
    Activation.RELU6: lambda x: torch.clamp(x, 0.0, 6.0),
    Activation.LEAKY_RELU_0_01: lambda x: F.leaky_relu(x, 0.01),
    Activation.LEAKY_RELU_0_1: lambda x: F.leaky_relu(x, 0.1),
    Activation.LEAKY_RELU_0_2: lambda x: F.leaky_relu(x, 0.2),
    Activation.LEAKY_RELU_0_3: lambda x: F.leaky_relu(x, 0.3),
    Activation.TANH: torch.tanh,
    Activation.SIGMOID: torch.sigmoid,
    Activation.HARD_SIGMOID: _hard_sigmoid,
    Activation.HARD_SWISH: lambda x: x * _hard_sigmoid(x),
    Activation.MISH: lambda x: x * torch.tanh(F.softplus(x, threshold=1e9)),
    Activation.ELU: F.elu,
    Activation.SELU: F.selu,
    Activation.SOFTPLUS: lambda x: F.softplus(x, threshold=1e9),
    Activation.HARD_TANH: lambda x: torch.clamp(x, -1.0, 1.0),
    Activation.SIGMOID_GELU: lambda x: x * torch.sigmoid(1.702 * x),
    Activation.SOFTSIGN: F.softsign,
    Activation.LOG_SIGMOID: F.logsigmoid,
    Activation.HARD_SIGMOID_0_2: lambda x: torch.clamp(0.2 * x + 0.5, 0.0, 1.0),
    Activation.ABSOLUTE_VALUE: torch.abs,
    Activation.SQUARE: torch.square,
    Activation.SOFTMAX: lambda x: torch.softmax(x, 1),
    Activation.LOG_SOFTMAX: lambda x: torch.log_softmax(x, 1),
}
# The activations with a kink at zero, and PyTorch's derivative there.
AT_ZERO = {
    Activation.RELU: 0.0,
    Activation.LEAKY_RELU_0_01: 0.01,
    Activation.LEAKY_RELU_0_1: 0.1,
    Activation.LEAKY_RELU_0_2: 0.2,
    Activation.LEAKY_RELU_0_3: 0.3,
}
# The names in JAX, for the fix.
FLAX_NAMES = {
    Activation.RELU: "jax.nn.relu",
    Activation.GELU: "jax.nn.gelu(x, approximate=False)",
    Activation.GELU_TANH: "jax.nn.gelu(x, approximate=True)",
    Activation.SILU: "jax.nn.silu",
    Activation.RELU6: "jax.nn.relu6",
    Activation.LEAKY_RELU_0_01: "jax.nn.leaky_relu(x, 0.01)",
    Activation.LEAKY_RELU_0_1: "jax.nn.leaky_relu(x, 0.1)",
    Activation.LEAKY_RELU_0_2: "jax.nn.leaky_relu(x, 0.2)",
    Activation.TANH: "jnp.tanh",
    Activation.SIGMOID: "jax.nn.sigmoid",
    Activation.HARD_SIGMOID: "jax.nn.hard_sigmoid",
    Activation.HARD_SWISH: "jax.nn.hard_swish",
    Activation.MISH: "jax.nn.mish",
    Activation.ELU: "jax.nn.elu",
    Activation.SELU: "jax.nn.selu",
    Activation.SOFTPLUS: "jax.nn.softplus",
    Activation.HARD_TANH: "jax.nn.hard_tanh",
    Activation.SOFTSIGN: "jax.nn.soft_sign",
    Activation.LOG_SIGMOID: "jax.nn.log_sigmoid",
    Activation.SOFTMAX: "jax.nn.softmax",
    Activation.LOG_SOFTMAX: "jax.nn.log_softmax",
}
# The activation of a module's class; the classes that PyTorch called in a connection are tried first.
CLASSES = {
    "ReLU": Activation.RELU,
    "ReLU6": Activation.RELU6,
    "GELU": Activation.GELU,
    "SiLU": Activation.SILU,
    "LeakyReLU": Activation.LEAKY_RELU_0_01,
    "Tanh": Activation.TANH,
    "Sigmoid": Activation.SIGMOID,
    "Hardsigmoid": Activation.HARD_SIGMOID,
    "Hardswish": Activation.HARD_SWISH,
    "Mish": Activation.MISH,
    "ELU": Activation.ELU,
    "SELU": Activation.SELU,
    "Softplus": Activation.SOFTPLUS,
    "Hardtanh": Activation.HARD_TANH,
    "Softsign": Activation.SOFTSIGN,
    "LogSigmoid": Activation.LOG_SIGMOID,
    "Softmax": Activation.SOFTMAX,
    "LogSoftmax": Activation.LOG_SOFTMAX,
}


def apply(activation: Activation, x: torch.Tensor, tie: float | None = None) -> torch.Tensor:
    """The activation of x; `tie` replaces PyTorch's derivative at zero, if the activation has a kink there."""
    y = ACTIVATIONS[activation](x)
    return y if tie is None or activation not in AT_ZERO else torch.where(x == 0, tie * x, y)
