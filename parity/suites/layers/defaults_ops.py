"""Functions of `flaxcnn.ops`, and layers, called with their defaults; and PyTorch's with its own."""

from typing import Any

import jax
import numpy as np
from flax import nnx
from torch import Tensor, nn, where
from torch.nn import functional

from flaxcnn import ops, optim
from flaxcnn.models import layers
from parity.suites.layers.op_runs import Op

ROWS, CHANNELS, OUTPUTS, CLASSES = 3, 4, 5, 4


def convolution(generator: np.random.Generator) -> list[Op]:
    """`conv2d` with and without a bias, its rule by hand, and the layer."""
    given = {
        "images": _normal(generator, ROWS, CHANNELS, 6, 8),
        "kernel": _normal(generator, OUTPUTS, CHANNELS, 3, 2),
    }
    biased = given | {"bias": _normal(generator, OUTPUTS)}
    wanted = ("images", "kernel", "bias")

    def layer(images: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        made = layers.Conv(CHANNELS, OUTPUTS, (3, 2), rngs=nnx.Rngs(0))
        made.weight, made.bias = nnx.Param(kernel), nnx.Param(bias)
        return made(images)

    def back(cotangent: jax.Array, images: jax.Array, kernel: jax.Array, *bias: jax.Array) -> Any:
        return ops.conv2d_backward(cotangent, images, kernel)[: 2 + len(bias)]

    def torch(images: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
        return functional.conv2d(images, kernel, bias)

    def flax(images: jax.Array, kernel: jax.Array, bias: jax.Array | None = None) -> jax.Array:
        return ops.conv2d(images, kernel, bias)

    return [
        Op("conv2d", given, torch, flax, back, wanted[:2]),
        Op("conv2d with a bias", biased, torch, flax, back, wanted),
        Op("Conv", biased, torch, layer, None, wanted),
    ]


def pooling(generator: np.random.Generator) -> list[Op]:
    """Every pooling over windows that leave a rest, where another stride, padding or `ceil_mode` shows."""
    given, wanted = {"images": _normal(generator, ROWS, 2, 7, 8)}, ("images",)
    return [
        Op(
            "max_pool2d",
            given,
            lambda images: functional.max_pool2d(images, 3),
            lambda images: ops.max_pool2d(images, 3),
            lambda cotangent, images: ops.max_pool2d_backward(cotangent, images, 3),
            wanted,
        ),
        Op(
            "avg_pool2d",
            given,
            lambda images: functional.avg_pool2d(images, 3),
            lambda images: ops.avg_pool2d(images, 3),
            lambda cotangent, images: ops.avg_pool2d_backward(cotangent, images.shape, 3),
            wanted,
        ),
        # Whether padding counts shows only where there is padding.
        Op(
            "avg_pool2d with padding",
            given,
            lambda images: functional.avg_pool2d(images, 3, padding=1),
            lambda images: ops.avg_pool2d(images, 3, padding=1),
            lambda cotangent, images: ops.avg_pool2d_backward(cotangent, images.shape, 3, padding=1),
            wanted,
        ),
        Op(
            "adaptive_avg_pool2d",
            given,
            lambda images: functional.adaptive_avg_pool2d(images, 1),
            lambda images: ops.adaptive_avg_pool2d(images, 1),
            lambda cotangent, images: ops.adaptive_avg_pool2d_backward(cotangent, images.shape, 1),
            wanted,
        ),
    ]


def normalisation(generator: np.random.Generator) -> list[Op]:
    """`batch_norm` without and with parameters, both rules by hand, and the layer over several batches."""
    images, channels = _normal(generator, ROWS, CHANNELS, 3, 5), (CHANNELS,)
    statistics = {"mean": _normal(generator, *channels), "var": _positive(generator, *channels)}
    parameters = {"scale": _normal(generator, *channels), "bias": _normal(generator, *channels)}
    plain = {"images": images} | statistics
    affine = plain | parameters
    wanted = ("images", "scale", "bias")

    def torch(images: Tensor, mean: Tensor, var: Tensor, scale: Any = None, bias: Any = None) -> Any:
        return functional.batch_norm(images, mean, var, scale, bias, training=True), mean, var

    def torch_eval(images: Tensor, mean: Tensor, var: Tensor, scale: Any = None, bias: Any = None) -> Tensor:
        return functional.batch_norm(images, mean, var, scale, bias)

    def flax(images: jax.Array, mean: jax.Array, var: jax.Array, scale: Any = None, bias: Any = None) -> Any:
        return ops.batch_norm(images, scale, bias, mean, var, train=True)

    def flax_eval(
        images: jax.Array, mean: jax.Array, var: jax.Array, scale: Any = None, bias: Any = None
    ) -> jax.Array:
        return ops.batch_norm(images, scale, bias, mean, var, train=False)[0]

    def back(
        cotangent: jax.Array, images: jax.Array, mean: jax.Array, var: jax.Array, *more: jax.Array
    ) -> Any:
        return ops.batch_norm_backward(cotangent, images, *(more or (None,))[:1])[: 1 + len(more)]

    def back_eval(
        cotangent: jax.Array, images: jax.Array, mean: jax.Array, var: jax.Array, *more: jax.Array
    ) -> Any:
        gradients = ops.batch_norm_eval_backward(cotangent, images, *(more or (None,))[:1], mean, var)
        return gradients[: 1 + len(more)]

    return [
        Op("batch_norm without parameters", plain, torch, flax, back, wanted[:1]),
        Op("batch_norm", affine, torch, flax, back, wanted),
        Op(
            "batch_norm in evaluation without parameters", plain, torch_eval, flax_eval, back_eval, wanted[:1]
        ),
        Op("batch_norm in evaluation", affine, torch_eval, flax_eval, back_eval, wanted),
        _over_batches("BatchNorm", generator, statistics | parameters, {}),
        _over_batches("BatchNorm of momentum None", generator, statistics | parameters, {"momentum": None}),
    ]


def _over_batches(
    name: str, generator: np.random.Generator, arrays: dict[str, np.ndarray], options: dict[str, None]
) -> Op:
    """The layer trained on three batches: its output in evaluation, and its statistics."""
    given = {"batches": 2 + _normal(generator, 3, 6, CHANNELS)} | arrays

    def torch(batches: Tensor, mean: Tensor, var: Tensor, scale: Tensor, bias: Tensor) -> Any:
        layer = nn.BatchNorm1d(CHANNELS, dtype=batches.dtype, **options)
        layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var = scale, bias, mean, var
        for batch in batches:
            layer(batch)
        return layer.eval()(batches[0]), layer.running_mean, layer.running_var

    def flax(
        batches: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array
    ) -> tuple[jax.Array, ...]:
        layer = layers.BatchNorm(CHANNELS, **options)
        layer.weight, layer.bias = nnx.Param(scale), nnx.Param(bias)
        layer.running_mean, layer.running_var = nnx.BatchStat(mean), nnx.BatchStat(var)
        for batch in batches:
            layer(batch, train=True)
        return layer(batches[0]), layer.running_mean[...], layer.running_var[...]

    return Op(name, given, torch, flax)


def losses(generator: np.random.Generator) -> list[Op]:
    """Cross-entropy with rows of the label that is ignored by default, dense, dropout, relu, penalties."""
    logits = {
        "logits": _normal(generator, 6, CLASSES),
        "labels": np.array([0, -100, CLASSES - 1, 1, -100, 2]),
    }
    x = {"x": _normal(generator, 6, CHANNELS)}
    dense = x | {"matrix": _normal(generator, OUTPUTS, CHANNELS), "bias": _normal(generator, OUTPUTS)}
    masked = x | {"mask": generator.random(x["x"].shape) < 0.5}

    def layer(x: jax.Array, matrix: jax.Array, bias: jax.Array) -> jax.Array:
        made = layers.Dense(CHANNELS, OUTPUTS, rngs=nnx.Rngs(0))
        made.weight, made.bias = nnx.Param(matrix), nnx.Param(bias)
        return made(x)

    return [
        Op(
            "cross_entropy",
            logits,
            functional.cross_entropy,
            ops.cross_entropy,
            ops.cross_entropy_backward,
            ("logits",),
        ),
        Op(
            "dense",
            dense,
            lambda x, matrix, bias: functional.linear(x, matrix),
            lambda x, matrix, bias: ops.dense(x, matrix),
            lambda cotangent, x, matrix, bias: ops.dense_backward(cotangent, x, matrix)[:2],
            ("x", "matrix"),
        ),
        Op(
            "Dense",
            dense,
            functional.linear,
            layer,
            lambda cotangent, x, matrix, bias: ops.dense_backward(cotangent, x, matrix),
            ("x", "matrix", "bias"),
        ),
        Op(
            "dropout",
            masked,
            lambda x, mask: where(mask, x / 0.75, 0.0),
            lambda x, mask: ops.dropout(x, None, 0.25, mask=mask),
            lambda cotangent, x, mask: ops.dropout_backward(cotangent, mask, 0.25),
            ("x",),
        ),
        Op("Dropout", x, nn.Dropout(0.5).eval(), layers.Dropout(0.5)),
        Op(
            "relu",
            x,
            functional.relu,
            ops.relu,
            ops.relu_backward,
            ("x",),
        ),
        Op(
            "l1_penalty",
            x,
            lambda x: x.abs().sum(),
            lambda x: ops.l1_penalty([x]),
            lambda cotangent, x: tuple(ops.l1_penalty_backward(cotangent, [x])),
            ("x",),
        ),
        Op(
            "l2_penalty",
            x,
            lambda x: x.square().sum(),
            lambda x: ops.l2_penalty([x]),
            lambda cotangent, x: tuple(ops.l2_penalty_backward(cotangent, [x])),
            ("x",),
        ),
        Op("global_norm", x, lambda x: nn.utils.get_total_norm([x]), lambda x: optim.global_norm([x])),
        Op(
            "global_norm of nothing",
            x,
            lambda x: nn.utils.get_total_norm([]) + x.sum(),
            lambda x: optim.global_norm([]).astype(x.dtype) + x.sum(),
        ),
    ]


def _normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.standard_normal(shape).astype(np.float32)


def _positive(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.uniform(0.5, 2.0, shape).astype(np.float32)
