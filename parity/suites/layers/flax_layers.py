"""Layers and ops of flaxcnn as NNX models of one layer, differentiated by JAX or by the rule derived by hand."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Integer

from flaxcnn import ops
from flaxcnn.models import layers
from flaxcnn.ops.cpu.choice import RULES, allowed_rules, allowing

# A function of arrays: the forward or the backward rule of an op.
ArrayFunction = Callable[..., Any]


class Single(nnx.Module):
    """A model of one layer."""

    def __init__(self, layer: nnx.Module, *, moded: bool = False) -> None:
        """`moded`: the layer wants to know whether it trains."""
        self.layer, self.moded = layer, moded

    def __call__(self, *inputs: Array, train: bool = False) -> Array:
        """Hand the inputs to the layer."""
        return self.layer(*inputs, train=train) if self.moded else self.layer(*inputs)


class Apply(nnx.Module):
    """A pure function as a layer."""

    def __init__(self, function: Callable[..., Array]) -> None:
        self.function = function

    def __call__(self, *inputs: Array) -> Array:
        """Apply the function."""
        return self.function(*inputs)


def by_hand(forward: ArrayFunction, backward: ArrayFunction) -> ArrayFunction:
    """`forward`, differentiated by `backward(cotangent, *inputs)` instead of by JAX.

    `backward` gives one cotangent for each input, None for inputs that have none.
    """

    @jax.custom_vjp
    def function(*inputs: Any) -> Any:
        return forward(*inputs)

    def ahead(*inputs: Any) -> Any:
        return forward(*inputs), inputs

    function.defvjp(ahead, lambda inputs, cotangent: backward(cotangent, *inputs))
    return function


def applied(forward: ArrayFunction, backward: ArrayFunction, hand: bool, **options: Any) -> Apply:
    """An op as a layer; both rules are given the `options`."""
    ahead = functools.partial(forward, **options)
    return Apply(by_hand(ahead, functools.partial(backward, **options)) if hand else ahead)


def in_tuple(backward: ArrayFunction) -> ArrayFunction:
    """A backward rule that returns one cotangent, as a rule that returns a tuple."""
    return lambda *arguments, **options: (backward(*arguments, **options),)


class ConvByHand(layers.Conv):
    """flaxcnn's convolution layer with the gradient of `ops.conv2d_backward`."""

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c2"]:
        """Convolve a batch of images."""
        options = {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }
        # JAX traces both rules later, outside the context of this call.
        allowed = allowed_rules()

        def forward(*arrays: Array | None) -> Array:
            with allowing(allowed):
                return ops.conv2d(*arrays, **options)

        def backward(cotangent: Array, x: Array, weight: Array, bias: Array | None) -> tuple[Any, ...]:
            with allowing(allowed):
                dx, dweight, dbias = ops.conv2d_backward(cotangent, x, weight, **options)
            return dx, dweight, None if bias is None else dbias

        function = by_hand(forward, backward)
        return function(x, self.weight[...], None if self.bias is None else self.bias[...])


class _Fast:
    """A mixin for convolution layers: they compute by the fast rules, however small the images."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve a batch of images."""
        with ops.fast_rules(*RULES, least_work=0):
            return super().__call__(x)


class FastConv(_Fast, layers.Conv):
    """flaxcnn's convolution layer by the fast rules."""


class FastConvByHand(_Fast, ConvByHand):
    """The same layer with the gradient of `ops.conv2d_backward`."""


class Linear(nnx.Module):
    """`ops.dense` with a weight and, if wanted, a bias: the layer `Dense` always has one."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool, hand: bool) -> None:
        self.weight = nnx.Param(jnp.asarray(np.zeros((inputs, outputs), np.float32)))
        self.bias = nnx.Param(jnp.asarray(np.zeros((outputs,), np.float32))) if bias else None
        self.hand = hand

    def __call__(self, x: Float[Array, "*batch i"]) -> Float[Array, "*batch o"]:
        """Apply the affine map to the last axis."""

        def backward(cotangent: Array, x: Array, weight: Array, bias: Array | None) -> tuple[Any, ...]:
            dx, dweight, dbias = ops.dense_backward(cotangent, x, weight)
            return dx, dweight, None if bias is None else dbias

        function = by_hand(ops.dense, backward) if self.hand else ops.dense
        return function(x, self.weight[...], None if self.bias is None else self.bias[...])


class BatchNorm(layers.BatchNorm):
    """flaxcnn's batch norm, also without scale and bias, and with the gradients of the rules derived by hand."""

    def __init__(self, channels: int, *, affine: bool, hand: bool, **options: Any) -> None:
        super().__init__(channels, **options)
        self.affine, self.hand = affine, hand
        if not affine:
            self.weight = self.bias = None

    def __call__(
        self, x: Float[Array, "n *space c"], mask: Bool[Array, " n"] | None = None, *, train: bool = False
    ) -> Float[Array, "n *space c"]:
        """Normalise by the statistics of the rows that `mask` keeps (train) or the running ones (eval)."""
        mean, var = self.running_mean[...], self.running_var[...]
        y = super().__call__(x, train=train, mask=mask) if self.affine else self._plain(x, mask, train)
        if not self.hand:
            return y
        scale, bias = (self.weight[...], self.bias[...]) if self.affine else (None, None)
        epsilon = self.epsilon

        def forward(x: Array, scale: Any, bias: Any, mean: Array, var: Array, mask: Any) -> Array:
            return ops.batch_norm(x, scale, bias, mean, var, train=train, epsilon=epsilon, mask=mask)[0]

        def backward(
            cotangent: Array, x: Array, scale: Any, bias: Any, mean: Array, var: Array, mask: Any
        ) -> tuple[Any, ...]:
            if train:
                gradients = ops.batch_norm_backward(cotangent, x, scale, epsilon=epsilon, mask=mask)
            else:
                gradients = ops.batch_norm_eval_backward(cotangent, x, scale, mean, var, epsilon=epsilon)
            return (gradients[0], *(gradients[1:] if self.affine else (None, None)), None, None, None)

        return by_hand(forward, backward)(x, scale, bias, mean, var, mask)

    def _plain(
        self, x: Float[Array, "n *space c"], mask: Bool[Array, " n"] | None, train: bool
    ) -> Float[Array, "n *space c"]:
        """The layer's computation with neither scale nor bias."""
        y, mean, var = ops.batch_norm(
            x,
            None,
            None,
            self.running_mean[...],
            self.running_var[...],
            train=train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            biased_running_variance=self.biased_running_variance,
            mask=mask,
        )
        if train:
            self.running_mean[...], self.running_var[...] = mean, var
            self.num_batches_tracked[...] = self.num_batches_tracked[...] + jnp.asarray(1, jnp.int32)
        return y


class CrossEntropy(nnx.Module):
    """`ops.cross_entropy` with its class weights as a constant of the model."""

    def __init__(self, *, weighted: int, hand: bool, **options: Any) -> None:
        """`weighted`: the number of classes that have a weight, 0 for none."""
        self.weight = nnx.BatchStat(jnp.asarray(np.ones((weighted,), np.float32))) if weighted else None
        self.hand, self.options = hand, tuple(sorted(options.items()))

    def __call__(
        self,
        logits: Float[Array, "n k"],
        labels: Integer[Array, " n"] | Float[Array, "n k"],
        mask: Bool[Array, " n"] | None = None,
    ) -> Float[Array, "..."]:
        """The loss."""
        weights = None if self.weight is None else self.weight[...]
        options = dict(self.options)

        def forward(logits: Array, labels: Array, weights: Any, mask: Any) -> Array:
            return ops.cross_entropy(logits, labels, class_weights=weights, mask=mask, **options)

        def backward(
            cotangent: Array, logits: Array, labels: Array, weights: Any, mask: Any
        ) -> tuple[Any, ...]:
            gradient = ops.cross_entropy_backward(
                cotangent, logits, labels, class_weights=weights, mask=mask, **options
            )
            return gradient, None, None, None

        return (by_hand(forward, backward) if self.hand else forward)(logits, labels, weights, mask)
