"""Small pairs of models, PyTorch and Flax, for the tests of the instrument."""

import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn
from torch.nn import functional as F


class TorchSmall(nn.Module):
    """Convolution, batch norm, ReLU, a strided convolution, flatten, linear."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.fc = nn.Linear(6 * 4 * 4, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.conv2(x))
        return self.fc(torch.flatten(x, 1))


class NnxSmall(nnx.Module):
    """The twin of `TorchSmall` with other names; each keyword plants one defect."""

    def __init__(
        self,
        *,
        padding="symmetric",
        flatten="chw",
        momentum=0.9,
        tie=False,
        epsilon=1e-5,
        stop=False,
        activation=nnx.relu,
        use_bias=True,
        first_bias=False,
        dtype=None,
    ):
        rngs = nnx.Rngs(0)
        padding_of_one = ((1, 1), (1, 1))
        self.stem = nnx.Conv(3, 4, (3, 3), padding=padding_of_one, use_bias=first_bias, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=momentum, epsilon=epsilon, rngs=rngs)
        strided = padding_of_one if padding == "symmetric" else padding
        self.body = nnx.Conv(
            4, 6, (3, 3), strides=2, padding=strided, use_bias=use_bias, dtype=dtype, rngs=rngs
        )
        self.head = nnx.Linear(6 * 4 * 4, 5, rngs=rngs)
        self.tie, self.flatten, self.stop, self.activation = tie, flatten, stop, activation

    def __call__(self, x):
        x = self.activation(self.norm(self.stem(x)))
        x = self.body(x)
        x = jnp.maximum(x, x * 0.0) if self.tie else nnx.relu(x)
        if self.stop:
            x = x + 0.0 * x
            from jax.lax import stop_gradient

            x = stop_gradient(x)
        if self.flatten == "chw":
            x = jnp.transpose(x, (0, 3, 1, 2))
        return self.head(x.reshape(x.shape[0], -1))


class LinenSmall(linen.Module):
    """The twin of `TorchSmall` with Linen's automatic names and a `train` keyword."""

    @linen.compact
    def __call__(self, x, *, train: bool):
        padding_of_one = ((1, 1), (1, 1))
        x = linen.Conv(4, (3, 3), padding=padding_of_one, use_bias=False)(x)
        x = linen.relu(linen.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        x = linen.relu(linen.Conv(6, (3, 3), strides=2, padding=padding_of_one)(x))
        return linen.Dense(5)(jnp.transpose(x, (0, 3, 1, 2)).reshape(x.shape[0], -1))


class TorchMixed(nn.Module):
    """Depthwise, grouped and transposed convolution, layer norm, a bare scale, concatenation, connection."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.grouped = nn.Conv2d(4, 8, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(8, 3, 2, stride=2)
        self.norm = nn.LayerNorm(7)
        self.scale = nn.Parameter(torch.zeros(7, 1, 1))
        self.group_norm = nn.GroupNorm(2, 4)
        self.head = nn.Linear(7, 3)

    def forward(self, x):
        y = F.gelu(self.depthwise(self.group_norm(x)))
        y = self.up(F.silu(self.grouped(y)))
        y = torch.cat([F.interpolate(x, scale_factor=2), y], dim=1)
        y = self.norm(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        y = self.scale * y
        return {"logits": self.head(y.mean((2, 3))), "map": y}


class NnxMixed(nnx.Module):
    """The twin of `TorchMixed`; `bare` is its scale vector."""

    def __init__(self, *, groups=2, gelu_approximate=False, transpose_kernel=False):
        rngs = nnx.Rngs(1)
        padding_of_one = ((1, 1), (1, 1))
        self.gn = nnx.GroupNorm(4, num_groups=2, epsilon=1e-5, rngs=rngs)
        self.dw = nnx.Conv(4, 4, (3, 3), padding=padding_of_one, feature_group_count=4, rngs=rngs)
        self.gr = nnx.Conv(4, 8, (3, 3), padding=padding_of_one, feature_group_count=groups, rngs=rngs)
        self.tr = nnx.ConvTranspose(
            8, 3, (2, 2), strides=2, padding="VALID", transpose_kernel=transpose_kernel, rngs=rngs
        )
        self.ln = nnx.LayerNorm(7, epsilon=1e-5, rngs=rngs)
        self.out = nnx.Linear(7, 3, rngs=rngs)
        self.bare = nnx.Param(jnp.zeros((7,)))
        self.approximate = gelu_approximate

    def __call__(self, x):
        y = nnx.gelu(self.dw(self.gn(x)), approximate=self.approximate)
        y = self.tr(nnx.silu(self.gr(y)))
        upsampled = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        y = self.ln(jnp.concatenate([upsampled, y], axis=-1))
        y = self.bare * y
        return {"logits": self.out(y.mean((1, 2))), "map": y}
