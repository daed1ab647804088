"""The computations of the suite `statistics`, by `torch.nn` and by flaxcnn, step by step.

Recorded images are `[n, c, h, w]`; flaxcnn's are transposed on the way in and on the way out.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import nn

from flaxcnn import ops
from flaxcnn.models import layers
from parity.capture.flax import precision
from parity.suites.layers import torch_layers
from parity.suites.options import CUMULATIVE, Options
from parity.suites.stepwise import Recording

Arrays = dict[str, np.ndarray]
PARAMETERS = ("weight", "bias")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def torch_batch_norm(options: Options, arrays: Arrays, batches: list[Arrays], dtype: str) -> Recording:
    """`nn.BatchNorm2d` over a run: output, gradients and statistics of each step."""
    biased = options["biased_running_variance"]
    settings = {"momentum": _momentum(options), "eps": options["epsilon"], "dtype": getattr(torch, dtype)}
    channels = len(arrays["weight"])
    if biased:
        # PyTorch has no such option: this is the formula, written with PyTorch's functions.
        layer: nn.Module = torch_layers.BatchNorm(channels, biased_running_variance=True, **settings)
    else:
        layer = nn.BatchNorm2d(channels, **settings)
    with torch.no_grad():
        for name in (*PARAMETERS, *STATISTICS[:2]):
            getattr(layer, name).copy_(torch.tensor(arrays[name]))
    recording = []
    for batch in batches:
        layer.train(bool(batch["train"]))
        x = torch.tensor(batch["images"].astype(dtype), requires_grad=True)
        y = layer(x)
        cotangent = torch.tensor(batch["cotangent"].astype(dtype))
        gradients = torch.autograd.grad(y, [x, layer.weight, layer.bias], cotangent)
        names = ("input", *PARAMETERS)
        tensors = {"output": y} | {f"gradient of the {n}": g for n, g in zip(names, gradients, strict=True)}
        tensors |= {name: getattr(layer, name) for name in STATISTICS}
        recording.append({name: value.detach().numpy().copy() for name, value in tensors.items()})
    return recording


def flax_batch_norm(options: Options, arrays: Arrays, batches: list[Arrays], dtype: str) -> Recording:
    """`flaxcnn.models.layers.BatchNorm` over the same run; one program for each size of a batch."""
    with precision(dtype):
        layer = layers.BatchNorm(
            len(arrays["weight"]),
            momentum=_momentum(options),
            epsilon=options["epsilon"],
            biased_running_variance=options["biased_running_variance"],
        )
        # A layer is made in float32; its arithmetic follows the dtype of its arrays.
        for kind, names in ((nnx.Param, PARAMETERS), (nnx.BatchStat, STATISTICS[:2])):
            for name in names:
                setattr(layer, name, kind(jnp.asarray(arrays[name].astype(dtype))))
        graph, params, state = nnx.split(layer, nnx.Param, nnx.BatchStat)

        def step(params: Any, state: Any, x: jax.Array, cotangent: jax.Array, train: bool) -> Any:
            def forward(params: Any, x: jax.Array) -> Any:
                module = nnx.merge(graph, params, state, copy=True)
                y = module(x, train=train)
                return y, nnx.state(module, nnx.BatchStat)

            y, back, state = jax.vjp(forward, params, x, has_aux=True)
            gradient, pull = back(cotangent)
            return y, pull, gradient, state

        compiled = jax.jit(step, static_argnums=4)
        recording = []
        for batch in batches:
            x, cotangent = (_channels_last(batch[name], dtype) for name in ("images", "cotangent"))
            y, pull, gradient, state = compiled(params, state, x, cotangent, bool(batch["train"]))
            tensors = {"output": np.moveaxis(np.asarray(y), -1, 1)}
            tensors["gradient of the input"] = np.moveaxis(np.asarray(pull), -1, 1)
            tensors |= {f"gradient of the {n}": np.asarray(gradient[n][...]) for n in PARAMETERS}
            recording.append(tensors | {name: np.asarray(state[name][...]) for name in STATISTICS})
        return recording


def torch_dropout(options: Options, batches: list[Arrays], dtype: str) -> Recording:
    """`nn.Dropout` over a run, with the masks that PyTorch's own generator draws for each step's seed."""
    layer, recording = nn.Dropout(options["rate"]), []
    for number, batch in enumerate(batches):
        layer.train(bool(batch["train"]))
        x = torch.tensor(batch["images"].astype(dtype), requires_grad=True)
        torch.manual_seed(number)
        y = layer(x)
        (gradient,) = torch.autograd.grad(y, x, torch.tensor(batch["cotangent"].astype(dtype)))
        recording.append({"output": y.detach().numpy(), "gradient of the input": gradient.numpy()})
    return recording


def masks_of_torch(options: Options, batches: list[Arrays], dtype: str) -> list[np.ndarray]:
    """The elements that `nn.Dropout` keeps at each step of `torch_dropout`: those that it keeps of ones."""
    layer, masks = nn.Dropout(options["rate"]), []
    for number, batch in enumerate(batches):
        torch.manual_seed(number)
        kept = layer(torch.ones(batch["images"].shape, dtype=getattr(torch, dtype)))
        masks.append(kept.numpy() != 0)
    return masks


def flax_dropout(options: Options, batches: list[Arrays], masks: list[np.ndarray], dtype: str) -> Recording:
    """`flaxcnn.ops.dropout` with those masks."""
    rate, recording = options["rate"], []

    def step(x: jax.Array, cotangent: jax.Array, mask: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        y, back = jax.vjp(lambda x: ops.dropout(x, None, rate, train=train, mask=mask), x)
        return y, back(cotangent)[0]

    compiled = jax.jit(step, static_argnums=3)
    with precision(dtype):
        for batch, mask in zip(batches, masks, strict=True):
            x, cotangent = (_channels_last(batch[name], dtype) for name in ("images", "cotangent"))
            kept = jnp.asarray(np.moveaxis(mask, 1, -1))
            y, pull = compiled(x, cotangent, kept, bool(batch["train"]))
            sides = {"output": y, "gradient of the input": pull}
            recording.append({name: np.moveaxis(np.asarray(a), -1, 1) for name, a in sides.items()})
    return recording


def _momentum(options: Options) -> float | None:
    return None if options["momentum"] == CUMULATIVE else options["momentum"]


def _channels_last(images: np.ndarray, dtype: str) -> jax.Array:
    return jnp.asarray(np.moveaxis(images, 1, -1).astype(dtype))
