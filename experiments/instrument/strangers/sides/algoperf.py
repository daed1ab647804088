"""mlcommons/algorithmic-efficiency: both sides are of that repository."""

import sys
import types
from typing import Any

from experiments.instrument.strangers.sides import of


def _module(framework: str, workload: str, side: str) -> str:
    # An installation writes this file; it holds the version and nothing else.
    version = sys.modules.setdefault("algoperf._version", types.ModuleType("algoperf._version"))
    version.__dict__.setdefault("version", "0")
    return f"algoperf.workloads.{framework}.{workload}_{side}.models"


def torch_cifar() -> Any:
    """The CIFAR ResNet with one block for each stage."""
    module = _module("cifar", "cifar", "pytorch")
    return of(module, "ResNet")(of(module, "BasicBlock"), [1, 1, 1, 1])


def cifar() -> Any:
    """Its JAX side."""
    module = _module("cifar", "cifar", "jax")
    return of(module, "ResNet")(stage_sizes=(1, 1, 1, 1), block_cls=of(module, "ResNetBlock"))


def torch_fastmri() -> Any:
    """The U-Net of two levels."""
    return of(_module("fastmri", "fastmri", "pytorch"), "UNet")(num_channels=8, num_pool_layers=2)


def fastmri() -> Any:
    """Its JAX side, which takes and gives images without a channel, as its workload does."""
    from flax import linen

    unet = of(_module("fastmri", "fastmri", "jax"), "UNet")(num_channels=8, num_pool_layers=2)

    class Images(linen.Module):
        unet: Any

        def __call__(self, x: Any, train: bool = True) -> Any:
            return self.unet(x[..., 0], train)[..., None]

    return Images(unet)
