"""The NNX layers of the models: parameters with PyTorch's names, arithmetic from `flaxcnn.ops`.

Attribute names (`weight`, `bias`, `running_mean`, ...) are PyTorch's, so that a parameter's dotted path in a
model is its key in the `state_dict` of the torchvision twin. Only the layout differs, see `flaxcnn.weights`.
"""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from flaxcnn import ops
from flaxcnn.errors import InvalidArgument
from flaxcnn.models.initialise import Initialiser, bias_for, uniform_fan_in


class Conv(nnx.Module):
    """2-D convolution on NHWC; `weight` is `[kernel_h, kernel_w, in / groups, out]`.

    Symmetric zero padding as in `torch.nn.Conv2d`; see `flaxcnn.ops.conv2d` for the options. If the attribute
    `rounding` is set, to a scale and a zero point, the input is rounded to 8 bits, see `flaxcnn.ops.rounded`.
    """

    rounding: tuple[float, int] | None = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        use_bias: bool = True,
        initialise: Initialiser = uniform_fan_in,
        rngs: nnx.Rngs,
    ) -> None:
        if in_channels % groups or out_channels % groups:
            raise InvalidArgument(
                f"Conv got groups={groups} for {in_channels} input and {out_channels} output channels; "
                "choose groups that divide both."
            )
        size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        shape = (*size, in_channels // groups, out_channels)
        self.weight = nnx.Param(initialise(rngs.params(), shape))
        self.bias = nnx.Param(bias_for(shape)(rngs.params(), (out_channels,))) if use_bias else None
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c2"]:
        """Convolve a batch of images."""
        return ops.conv2d(
            x if self.rounding is None else ops.rounded(x, *self.rounding),
            self.weight[...],
            None if self.bias is None else self.bias[...],
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class BatchNorm(nnx.Module):
    """Batch normalisation over all axes but the last, with `torch.nn.BatchNorm2d`'s conventions.

    `momentum` is the weight of the *new* observation, as in PyTorch. `momentum=None` computes the cumulative
    average of all batches instead. The running variance is unbiased, n / (n - 1), unless
    `biased_running_variance` (the convention of Flax and Keras). A norm whose attribute `frozen` is set normalises by
    its running statistics in training too, and does not change them, as PyTorch's does in the mode of evaluation.
    """

    def __init__(
        self,
        channels: int,
        *,
        momentum: float | None = 0.1,
        epsilon: float = 1e-5,
        biased_running_variance: bool = False,
        initial_scale: float = 1.0,
    ) -> None:
        self.weight = nnx.Param(_constant(channels, initial_scale))
        self.bias = nnx.Param(_constant(channels, 0.0))
        self.running_mean = nnx.BatchStat(_constant(channels, 0.0))
        self.running_var = nnx.BatchStat(_constant(channels, 1.0))
        self.num_batches_tracked = nnx.BatchStat(jnp.asarray(np.zeros((), np.int32)))
        self.momentum, self.epsilon = momentum, epsilon
        self.biased_running_variance = biased_running_variance
        self.frozen = False

    def __call__(
        self, x: Float[Array, "n *space c"], *, train: bool = False, mask: Bool[Array, " n"] | None = None
    ) -> Float[Array, "n *space c"]:
        """Normalise by the statistics of the rows that `mask` keeps (train) or the running ones (eval)."""
        train = train and not self.frozen
        count = self.num_batches_tracked[...] + jnp.asarray(1, self.num_batches_tracked[...].dtype)
        dtype = self.running_mean[...].dtype
        y, mean, var = ops.batch_norm(
            x,
            self.weight[...],
            self.bias[...],
            self.running_mean[...],
            self.running_var[...],
            train=train,
            momentum=jnp.asarray(1, dtype) / count.astype(dtype) if self.momentum is None else self.momentum,
            epsilon=self.epsilon,
            biased_running_variance=self.biased_running_variance,
            mask=mask,
        )
        if train:
            self.running_mean[...], self.running_var[...] = mean, var
            self.num_batches_tracked[...] = count
        return y


def _constant(channels: int, value: float) -> Float[Array, " c"]:
    """A constant vector made by NumPy: `jnp.full` would compile a program for every number of channels."""
    return jnp.asarray(np.full((channels,), value, np.float32))


class Dense(nnx.Module):
    """`y = x W + b` with `weight` of shape `[in, out]`, initialised as `torch.nn.Linear`; `rounding` is `Conv`'s."""

    rounding: tuple[float, int] | None = None

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs) -> None:
        shape = (in_features, out_features)
        self.weight = nnx.Param(uniform_fan_in(rngs.params(), shape))
        self.bias = nnx.Param(bias_for(shape)(rngs.params(), (out_features,)))

    def __call__(self, x: Float[Array, "*batch i"]) -> Float[Array, "*batch o"]:
        """Apply the affine map to the last axis."""
        x = x if self.rounding is None else ops.rounded(x, *self.rounding)
        return ops.dense(x, self.weight[...], self.bias[...])


class Dropout(nnx.Module):
    """Zero each element with probability `rate` and scale the rest by 1 / (1 - rate), in training only."""

    def __init__(self, rate: float) -> None:
        if not 0.0 <= rate < 1.0:
            raise InvalidArgument(
                f"Dropout got rate={rate}; the probability of dropping must lie in [0, 1), for example 0.5."
            )
        self.rate = rate

    def __call__(
        self, x: Float[Array, "..."], *, train: bool = False, key: Key[Array, ""] | None = None
    ) -> Float[Array, "..."]:
        """Drop elements of `x`; `key` is needed when training with a rate above zero."""
        if not train or self.rate == 0.0:
            return x
        if key is None:
            raise InvalidArgument(
                f"Dropout with rate={self.rate} was called with train=True and no key; "
                "pass key=jax.random.key(...) to the model."
            )
        return ops.dropout(x, key, self.rate, train=True)
