"""Every model by name. Each has a builder that needs no argument: `resnet18()`, `create("resnet18")`.

Names, defaults and parameter names of the ImageNet networks are torchvision's; those of the CIFAR networks
follow He et al. 2015, section 4.2 (`resnet20` ... `resnet110`, shortcut A); `resnet9` is DAWNBench's.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from flax import nnx

from flaxcnn.errors import InvalidArgument, hint
from flaxcnn.models.blocks import BasicBlock, Bottleneck, PreActivationBasicBlock, PreActivationBottleneck
from flaxcnn.models.cnn import CNN
from flaxcnn.models.options import check_options, parameters_of
from flaxcnn.models.resnet import ResNet
from flaxcnn.models.resnet9 import ResNet9

IMAGENET_DEPTHS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
CIFAR_DEPTHS = (20, 32, 44, 56, 110)


def _imagenet(depth: int, *, pre_activation: bool = False, **defaults: Any) -> Callable[..., ResNet]:
    basic, bottleneck = (
        (PreActivationBasicBlock, PreActivationBottleneck) if pre_activation else (BasicBlock, Bottleneck)
    )
    block = basic if depth < 50 else bottleneck
    return functools.partial(ResNet, block, IMAGENET_DEPTHS[depth], **defaults)


def _cifar(depth: int, *, pre_activation: bool = False) -> Callable[..., ResNet]:
    """He et al. 2015, section 4.2: `6 n + 2` layers, three stages of `n` blocks, 16, 32 and 64 channels."""

    def build(*, width: int = 16, **options: Any) -> ResNet:
        block = PreActivationBasicBlock if pre_activation else BasicBlock
        depths = (((depth - 2) // 6),) * 3
        arguments = {"stem": "cifar", "shortcut": "A", "num_classes": 10} | options
        return ResNet(block, depths, (width, 2 * width, 4 * width), **arguments)

    return build


_BUILDERS: dict[str, Callable[..., nnx.Module]] = {
    "cnn": CNN,
    "resnet9": ResNet9,
    **{f"resnet{depth}": _cifar(depth) for depth in CIFAR_DEPTHS},
    **{f"resnet{depth}": _imagenet(depth) for depth in IMAGENET_DEPTHS},
    "resnext50_32x4d": _imagenet(50, groups=32, width_per_group=4),
    "resnext101_32x8d": _imagenet(101, groups=32, width_per_group=8),
    "resnext101_64x4d": _imagenet(101, groups=64, width_per_group=4),
    "wide_resnet50_2": _imagenet(50, width_per_group=128),
    "wide_resnet101_2": _imagenet(101, width_per_group=128),
    **{f"preact_resnet{depth}": _cifar(depth, pre_activation=True) for depth in CIFAR_DEPTHS},
    **{f"preact_resnet{depth}": _imagenet(depth, pre_activation=True) for depth in IMAGENET_DEPTHS},
}


def _options() -> dict[str, dict[str, inspect.Parameter]]:
    """The options of every model; what its name decides (blocks, depths) is none."""
    width = inspect.Parameter("width", inspect.Parameter.KEYWORD_ONLY, default=16, annotation=int)
    cifar = parameters_of(ResNet, "block", "depths", "widths") | {"width": width}
    imagenet = parameters_of(ResNet, "block", "depths")
    own = {"cnn": parameters_of(CNN), "resnet9": parameters_of(ResNet9)}
    depths = {f"{prefix}resnet{depth}" for prefix in ("", "preact_") for depth in CIFAR_DEPTHS}
    return {name: own.get(name, cifar if name in depths else imagenet) for name in _BUILDERS}


_OPTIONS = _options()


def names() -> list[str]:
    """The names of all models, in the order of the registry."""
    return list(_BUILDERS)


def create(name: str, *, seed: int = 0, rngs: nnx.Rngs | None = None, **options: Any) -> nnx.Module:
    """Build the model called `name`, with freshly initialised float32 weights.

    Args:
        name: one of `names()`.
        seed: the seed of the initial weights, unless `rngs` is given.
        rngs: a source of randomness to use instead of `seed`.
        options: those of the model's class (`ResNet`, `ResNet9`, `CNN`), such as `num_classes`, `in_channels`, `stem`.

    Raises:
        InvalidArgument: there is no such model (the error names the nearest ones), or an option is unknown or has a
            value of a wrong type or out of its range.
    """
    if name not in _BUILDERS:
        raise InvalidArgument(f"There is no model {name!r}: {hint(name, names())}")
    build = functools.partial(_BUILDERS[name], **options)
    check_options(name, _OPTIONS[name], options, lambda: build(rngs=nnx.Rngs(0)))
    return build(rngs=nnx.Rngs(seed) if rngs is None else rngs)


def builder(name: str) -> Callable[..., nnx.Module]:
    """A function `(seed=0, **options) -> model` for the model called `name`, as torchvision has them."""

    def build(*, seed: int = 0, **options: Any) -> nnx.Module:
        return create(name, seed=seed, **options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"Build {name!r}; `options` are those of `flaxcnn.models.create`."
    return build
