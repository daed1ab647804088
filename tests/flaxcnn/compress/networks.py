"""Tiny networks of every kind of the registry, with weights and statistics that are nothing special."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flaxcnn import models, ops
from flaxcnn.functional import functional
from flaxcnn.models import blocks
from flaxcnn.models.cnn import CNN
from flaxcnn.models.resnet import ResNet
from flaxcnn.models.resnet9 import ResNet9

CIFAR = {"width": 3}
IMAGENET = {"widths": (4, 4, 6, 8), "num_classes": 3}
GROUPED = {"groups": 4, "width_per_group": 32}
# Without dropout, which draws other units where there are fewer.
PLAIN = {"channels": (5, 4), "hidden": 6, "image_size": 8, "batch_norm": True, "dropout": 0.0}
SMALL = {"stem": "cifar", "num_classes": 3}
# One network for each way in which channels are tied, as short as it can be.
KINDS = {
    "cnn": lambda rngs: CNN(**PLAIN, rngs=rngs),
    "shortcut A": lambda rngs: ResNet(blocks.BasicBlock, (1, 1), (3, 6), shortcut="A", **SMALL, rngs=rngs),
    "shortcut B": lambda rngs: ResNet(blocks.BasicBlock, (1, 1), (3, 4), **SMALL, rngs=rngs),
    "grouped": lambda rngs: ResNet(blocks.Bottleneck, (1, 1), (4, 6), **SMALL, **GROUPED, rngs=rngs),
    "pre-activation": lambda rngs: ResNet(blocks.PreActivationBottleneck, (1, 1), (4, 6), **SMALL, rngs=rngs),
    "resnet9": lambda rngs: ResNet9(widths=(3, 4), pools=(False, True), branches=(0, 2), rngs=rngs),
}


def of_registry(name):
    """A model of the registry with few channels, and the shape of its images."""
    if name == "cnn":
        return models.create(name, **PLAIN), (8, 8, 1)
    if name == "resnet9":
        return models.create(name, widths=(4, 4, 6, 6)), (8, 8, 3)
    cifar = name.removeprefix("preact_") in ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
    if cifar:
        return models.create(name, **CIFAR), (8, 8, 3)
    return models.create(name, **IMAGENET, **(GROUPED if "resnext" in name else {})), (16, 16, 3)


def built(name):
    """The model, its pure function by the plain rules with random arrays, float64 under x64, and its image shape."""
    if name in KINDS:
        model, shape = KINDS[name](nnx.Rngs(0)), (8, 8, 1 if name == "cnn" else 3)
    else:
        model, shape = of_registry(name.removeprefix("registry: "))
    parts = functional(model)
    draw = np.random.default_rng(0)
    params = {
        key: jnp.asarray(draw.normal(0.0, 1.0, value.shape) * 0.3 + 0.2)
        for key, value in parts.params.items()
    }
    state = {
        key: jnp.asarray(draw.uniform(0.5, 1.5, value.shape)) if value.ndim else value
        for key, value in parts.state.items()
    }
    return model, plain(parts)._replace(params=params, state=state), shape


def plain(parts):
    """The same by the plain rules."""

    def apply(*arguments, **given):
        with ops.fast_rules():
            return parts.apply(*arguments, **given)

    return parts._replace(apply=apply)


def outputs(parts, images):
    """Logits in evaluation and in training, in one program."""

    def both(params, state, x):
        logits = parts.apply(params, state, x, train=False)[0]
        trained = parts.apply(params, state, x, train=True, key=jax.random.key(0))[0]
        return logits, trained

    return [np.asarray(item) for item in jax.jit(both)(parts.params, parts.state, images)]
