"""Builds the pair of models, and the inputs, of a layer's case from its options.

Every builder is `(options, generator) -> Pair`; the generator gives the inputs their values.
"""

from collections.abc import Callable

import jax
import numpy as np
from flax import nnx
from torch import nn

from flaxcnn import ops
from flaxcnn.models import layers
from parity.suites.case import Pair
from parity.suites.layers import flax_layers, torch_layers
from parity.suites.options import CUMULATIVE, Options

CHANNELS, ROWS = 4, 2


def convolution(options: Options, generator: np.random.Generator) -> Pair:
    """`nn.Conv2d` and `Conv`."""
    settings = {name: options[name] for name in ("stride", "dilation", "groups")}
    sided = _sided(options["padding"])
    kernel, outputs, channels = options["kernel"], options["outputs"], options.get("channels", CHANNELS)
    kind = torch_layers.PaddedConv2d if sided else nn.Conv2d
    padding = 0 if sided else options["padding"]
    torch = kind(channels, outputs, kernel, padding=padding, bias=options["bias"], **settings)
    torch.sides = options["padding"]
    plain, hand = layers.Conv, flax_layers.ConvByHand
    if "channels" in options:
        plain, hand = flax_layers.FastConv, flax_layers.FastConvByHand
    layer = hand if options["by_hand"] else plain
    flax = layer(
        channels,
        outputs,
        kernel,
        padding=options["padding"],
        use_bias=options["bias"],
        rngs=nnx.Rngs(0),
        **settings,
    )
    return _pair(torch, flax, _images(options, generator))


def maximum_pooling(options: Options, generator: np.random.Generator) -> Pair:
    """`nn.MaxPool2d` and `ops.max_pool2d`."""
    settings = {name: options[name] for name in ("stride", "dilation", "ceil_mode")}
    sided = _sided(options["padding"])
    torch = (torch_layers.PaddedMaxPool2d if sided else nn.MaxPool2d)(
        options["window"], padding=0 if sided else options["padding"], **settings
    )
    torch.sides = options["padding"]
    flax = flax_layers.applied(
        ops.max_pool2d,
        flax_layers.in_tuple(ops.max_pool2d_backward),
        options["by_hand"],
        window=options["window"],
        padding=options["padding"],
        **settings,
    )
    images = _images(options, generator)
    # Whole numbers in a small range: in many windows several elements are the greatest.
    return _pair(torch, flax, np.round(2 * images) if options["ties"] else images)


def average_pooling(options: Options, generator: np.random.Generator) -> Pair:
    """`nn.AvgPool2d` and `ops.avg_pool2d`."""
    names = ("stride", "ceil_mode", "count_include_pad", "divisor_override")
    settings = {name: options[name] for name in names}
    sided = _sided(options["padding"])
    torch = (torch_layers.PaddedAvgPool2d if sided else nn.AvgPool2d)(
        options["window"], padding=0 if sided else options["padding"], **settings
    )
    torch.sides = options["padding"]
    flax = flax_layers.applied(
        ops.avg_pool2d,
        _by_shape(ops.avg_pool2d_backward),
        options["by_hand"],
        window=options["window"],
        padding=options["padding"],
        **settings,
    )
    return _pair(torch, flax, _images(options, generator))


def adaptive_pooling(options: Options, generator: np.random.Generator) -> Pair:
    """`nn.AdaptiveAvgPool2d` and `ops.adaptive_avg_pool2d`."""
    size = options["output_size"]
    flax = flax_layers.applied(
        ops.adaptive_avg_pool2d,
        _by_shape(ops.adaptive_avg_pool2d_backward),
        options["by_hand"],
        output_size=size,
    )
    return _pair(nn.AdaptiveAvgPool2d(size), flax, _images(options, generator))


def batch_normalisation(options: Options, generator: np.random.Generator) -> Pair:
    """`nn.BatchNorm1d`, `nn.BatchNorm2d`, or the formula where they lack an option; and `BatchNorm`."""
    channels, biased, affine = (options[name] for name in ("channels", "biased_running_variance", "affine"))
    momentum = None if options["momentum"] == CUMULATIVE else options["momentum"]
    settings = {"momentum": momentum, "eps": options["epsilon"], "affine": affine}
    if biased or options["mask"]:
        torch: nn.Module = torch_layers.BatchNorm(channels, biased_running_variance=biased, **settings)
    else:
        torch = (nn.BatchNorm2d if options["image"] else nn.BatchNorm1d)(channels, **settings)
    flax = flax_layers.BatchNorm(
        channels,
        affine=affine,
        hand=options["by_hand"],
        momentum=momentum,
        epsilon=options["epsilon"],
        biased_running_variance=biased,
    )
    # Far from zero: a variance computed as E[x^2] - E[x]^2 would show.
    x = (3 + generator.standard_normal((6, channels, *(options["image"] or ())))).astype(np.float32)
    inputs = [x, np.array([True, False, True, True, False, True])] if options["mask"] else [x]
    return _pair(torch, flax, *inputs, moded=True)


def dense(options: Options, generator: np.random.Generator) -> Pair:
    """`nn.Linear` and `Dense`, or `ops.dense` without a bias."""
    inputs, outputs, bias, hand = (options[name] for name in ("inputs", "outputs", "bias", "by_hand"))
    if bias and not hand:
        flax: nnx.Module = layers.Dense(inputs, outputs, rngs=nnx.Rngs(0))
    else:
        flax = flax_layers.Linear(inputs, outputs, bias=bias, hand=hand)
    return _pair(
        nn.Linear(inputs, outputs, bias=bias), flax, _normal(generator, (*options["leading"], inputs))
    )


def dropout(options: Options, generator: np.random.Generator) -> Pair:
    """`functional.dropout`, and `Dropout` or `ops.dropout`, with the same mask where one is drawn."""
    rate, kind = options["rate"], options["kind"]
    x = _normal(generator, options["shape"])
    if kind in ("eval", "train at rate 0"):
        return _pair(torch_layers.FunctionalDropout(rate), layers.Dropout(rate), x, moded=True)
    shape = (x.shape[0], *x.shape[2:], x.shape[1])
    # The mask is drawn in Flax's layout, and handed to PyTorch in PyTorch's.
    mask = np.moveaxis(np.asarray(ops.dropout_mask(jax.random.key(0), rate, shape)), -1, 1)

    def forward(x: jax.Array, mask: jax.Array) -> jax.Array:
        drawn = kind == "drawn mask"
        return ops.dropout(x, jax.random.key(0) if drawn else None, rate, mask=None if drawn else mask)

    def backward(cotangent: jax.Array, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, None]:
        return ops.dropout_backward(cotangent, mask, rate), None

    flax = flax_layers.Apply(flax_layers.by_hand(forward, backward) if options["by_hand"] else forward)
    pair = _pair(torch_layers.MaskedDropout(rate), flax, x, np.ascontiguousarray(mask))
    # Flax draws the mask by itself that PyTorch is given: they agree on this one only.
    return pair._replace(probes=kind != "drawn mask")


def relu(options: Options, generator: np.random.Generator) -> Pair:
    """`nn.ReLU` and `ops.relu`."""
    flax = flax_layers.applied(ops.relu, flax_layers.in_tuple(ops.relu_backward), options["by_hand"])
    return _pair(nn.ReLU(), flax, _normal(generator, options["shape"], options["zeros"]))


def cross_entropy(options: Options, generator: np.random.Generator) -> Pair:
    """`nn.CrossEntropyLoss` and `ops.cross_entropy`."""
    rows, classes, ignored = (options[name] for name in ("rows", "classes", "ignore_index"))
    settings = {"label_smoothing": options["label_smoothing"], "reduction": options["reduction"]}
    if ignored is not None:
        settings["ignore_index"] = ignored
    weight = None
    if options["class_weights"]:
        from torch import from_numpy

        weight = from_numpy(generator.uniform(0.5, 2, classes).astype(np.float32))
    torch = torch_layers.CrossEntropy(constant_labels=options["by_hand"], weight=weight, **settings)
    flax = flax_layers.CrossEntropy(
        weighted=classes if weight is not None else 0, hand=options["by_hand"], **settings
    )
    if options["distributions"]:
        labels = generator.dirichlet(np.ones(classes), rows).astype(np.float32)
    else:
        labels = generator.integers(0, classes, rows)
        # One row that is ignored, or could be; and two that count.
        labels[:3] = 0, 1, classes - 1
    inputs = [_normal(generator, (rows, classes)), labels]
    if options["mask"]:
        mask = generator.random(rows) < 0.5
        mask[:3] = True
        inputs.append(mask)
    return _pair(torch, flax, *inputs)


def penalty(options: Options, generator: np.random.Generator) -> Pair:
    """A sum of magnitudes or squares, and `ops.l1_penalty` or `ops.l2_penalty`."""
    rules = {
        1: (ops.l1_penalty, ops.l1_penalty_backward),
        2: (ops.l2_penalty, ops.l2_penalty_backward),
    }
    forward, backward = rules[options["norm"]]

    def ahead(*arrays: jax.Array) -> jax.Array:
        return forward(list(arrays))

    def back(cotangent: jax.Array, *arrays: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(backward(cotangent, list(arrays)))

    flax = flax_layers.applied(ahead, back, options["by_hand"])
    arrays = [_normal(generator, shape, options["zeros"]) for shape in options["shapes"]]
    return _pair(torch_layers.Penalty(options["norm"]), flax, *arrays)


BUILDERS: dict[str, Callable[[Options, np.random.Generator], Pair]] = {
    "conv": convolution,
    "fast_conv": convolution,
    "max_pool": maximum_pooling,
    "avg_pool": average_pooling,
    "adaptive_avg_pool": adaptive_pooling,
    "batch_norm": batch_normalisation,
    "dense": dense,
    "dropout": dropout,
    "relu": relu,
    "cross_entropy": cross_entropy,
    "penalty": penalty,
}


def _pair(torch: nn.Module, flax: nnx.Module, *inputs: np.ndarray, moded: bool = False) -> Pair:
    return Pair(torch_layers.Single(torch), flax_layers.Single(flax, moded=moded), list(inputs))


def _sided(padding: object) -> bool:
    return isinstance(padding, tuple) and isinstance(padding[0], tuple)


def _images(options: Options, generator: np.random.Generator) -> np.ndarray:
    return _normal(generator, (ROWS, options.get("channels", CHANNELS), *options["image"]))


def _normal(generator: np.random.Generator, shape: tuple[int, ...], zeros: float = 0.0) -> np.ndarray:
    """Standard normal numbers, a share of them exactly zero."""
    values = generator.standard_normal(shape)
    return np.where(generator.random(shape) < zeros, 0.0, values).astype(np.float32)


def _by_shape(shape_rule: flax_layers.ArrayFunction) -> flax_layers.ArrayFunction:
    """A backward rule that takes the input's shape, as a rule that takes the input."""

    def backward(cotangent: jax.Array, x: jax.Array, **options: object) -> tuple[jax.Array]:
        return (shape_rule(cotangent, x.shape, **options),)

    return backward
