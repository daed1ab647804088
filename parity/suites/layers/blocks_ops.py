"""Single residual blocks against torchvision's, or against the twins: small, where whole models take long.

Each block is trained once and then called with its defaults, which is evaluation. The first scales and biases of its
norms are compared too; in a model they are replaced by PyTorch's before anything is compared.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import Tensor, nn
from torch.func import functional_call
from torchvision.models import resnet

from flaxcnn import ops
from flaxcnn.models import blocks
from parity.errors import CannotCompare
from parity.suites.layers.op_runs import Op
from parity.suites.models import twins

INPUTS = 4


def basic(generator: np.random.Generator) -> list[Op]:
    """Shortcut B with a last norm that begins at zero, shortcut A."""
    projected, padded = (
        resnet.BasicBlock(INPUTS, 6, 2, _projection(INPUTS, 6, 2)),
        twins.BasicBlock(INPUTS, 6, 2, "A"),
    )
    from_zero = {"stride": 2, "zero_init_residual": True}
    return [
        _block(generator, "BasicBlock", projected, blocks.BasicBlock, 6, **from_zero),
        _block(generator, "BasicBlock of shortcut A", padded, blocks.BasicBlock, 6, stride=2, shortcut="A"),
    ]


def bottleneck(generator: np.random.Generator) -> list[Op]:
    """As wide as by default; in groups, strided on the first 1x1, with a last norm that begins at zero."""
    # With so many planes one channel more in a group would show.
    default = resnet.Bottleneck(INPUTS, 64, 1, _projection(INPUTS, 256, 1))
    grouped = resnet.Bottleneck(INPUTS, 8, 2, _projection(INPUTS, 32, 2), groups=2, base_width=32)
    twins.with_stride_on_first(nn.Sequential(grouped))
    first = {"stride": 2, "stride_on": "1x1", "zero_init_residual": True}
    kind = blocks.Bottleneck
    return [
        _block(generator, "Bottleneck", default, kind, 64),
        _block(generator, "Bottleneck in groups", grouped, kind, 8, groups=2, width_per_group=32, **first),
    ]


def pre_activation(generator: np.random.Generator) -> list[Op]:
    """Both kinds of block, and the basic one without a stride too."""
    basic_kind, deep_kind = blocks.PreActivationBasicBlock, blocks.PreActivationBottleneck
    strided, plain = (twins.PreActivationBlock(INPUTS, n, s, "B") for n, s in ((6, 2), (INPUTS, 1)))
    deep = twins.PreActivationBottleneck(INPUTS, 2, 2)
    return [
        _block(generator, "PreActivationBasicBlock", strided, basic_kind, 6, stride=2),
        _block(generator, "PreActivationBasicBlock, not strided", plain, basic_kind, INPUTS),
        _block(generator, "PreActivationBottleneck", deep, deep_kind, 2, stride=2),
    ]


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def _block(
    generator: np.random.Generator,
    name: str,
    twin: nn.Module,
    kind: Callable[..., Any],
    planes: int,
    *,
    stride: int = 1,
    **options: Any,
) -> Op:
    """A block and its twin, whose weights both are given."""
    if options.get("zero_init_residual"):
        # As torchvision's ResNet does it.
        nn.init.zeros_(twin.bn3.weight if hasattr(twin, "bn3") else twin.bn2.weight)
    began = {key: value.detach().clone() for key, value in twin.state_dict().items() if _of_a_norm(twin, key)}
    given, names = _given(twin, generator)
    given["images"] = generator.standard_normal((3, INPUTS, 6, 7)).astype(np.float32)

    def by_torch(*arrays: Tensor) -> tuple[Tensor, ...]:
        *weights, images = arrays
        state = dict(zip(names.values(), weights, strict=True))
        y = functional_call(twin.train(), state, (images,))
        after = functional_call(twin.eval(), state, (images,))
        start = torch.cat([value.to(images.dtype) for value in began.values()])
        return y, after, start, *(value for key, value in state.items() if "running" in key)

    def by_flax(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        *weights, images = arrays
        strides = {} if stride == 1 else {"stride": stride}
        block = kind(INPUTS, planes, options=blocks.BlockOptions(**options), rngs=nnx.Rngs(0), **strides)
        start = jnp.concatenate([_at(block, key)[...].astype(images.dtype) for key in began])
        for key, value in zip(names.values(), weights, strict=True):
            _put(block, key, value)
        # The plain rules: the fast rules for convolutions have cases of their own, and take longer to compile.
        with ops.fast_rules():
            y, after = block(images, train=True), block(images)
        running = (_at(block, key)[...] for key in names.values() if "running" in key)
        return y, after, start, *running

    wanted = ("images", *(key for key in given if key != "images" and "running" not in names[key]))
    return Op(name, given, by_torch, by_flax, None, wanted)


def _given(twin: nn.Module, generator: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Random weights and statistics for a block, by names that tell their layout; and the block's names of them."""
    given, names = {}, {}
    for number, (key, value) in enumerate(twin.state_dict().items()):
        if value.is_floating_point():
            short = f"kernel_{number}" if value.ndim == 4 else f"p{number}"
            fresh = generator.uniform(0.5, 1.5, value.shape) if value.ndim == 1 else value.numpy()
            given[short], names[short] = fresh.astype(np.float32), key
    return given, names


def _of_a_norm(twin: nn.Module, key: str) -> bool:
    """Whether an entry of a state dict is the scale or the bias of a norm."""
    owner, _, name = key.rpartition(".")
    return name in ("weight", "bias") and isinstance(twin.get_submodule(owner), nn.BatchNorm2d)


def _at(block: nnx.Module, path: str) -> Any:
    node: Any = block
    for part in path.split("."):
        node = node[int(part)] if part.isdigit() else getattr(node, part)
    return node


def _put(block: nnx.Module, path: str, value: jax.Array) -> None:
    """Replace a variable by a new one: a variable that is written to keeps its dtype."""
    owner, _, name = path.rpartition(".")
    old = _at(block, path)
    if old[...].shape != value.shape:
        raise CannotCompare(f"{path} has shape {value.shape} for PyTorch and {old[...].shape} for Flax.")
    setattr(_at(block, owner), name, type(old)(value))
