"""The same network in PyTorch, differentiated by torch.autograd."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from experiments.autodiff.backprop_by_hand.network import CONV1, CONV2, EPSILON, POOL, SMOOTHING, Arrays, Pass


def forward(params: dict[str, Tensor], x: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and every tensor; images are [n c h w] here."""
    z1 = functional.conv2d(x, params["conv1.weight"], **CONV1)
    y1 = functional.batch_norm(
        z1, None, None, params["norm.weight"], params["norm.bias"], training=True, eps=EPSILON
    )
    a1 = functional.relu(y1)
    p1 = functional.max_pool2d(a1, POOL)
    z2 = functional.conv2d(p1, params["conv2.weight"], params["conv2.bias"], **CONV2)
    a2 = functional.relu(z2)
    f = torch.flatten(a2, 1)
    z3 = functional.linear(f, params["dense.weight"], params["dense.bias"])
    loss = functional.cross_entropy(z3, labels, label_smoothing=SMOOTHING)
    return loss, {"x": x, "z1": z1, "y1": y1, "a1": a1, "p1": p1, "z2": z2, "a2": a2, "f": f, "z3": z3}


def by_torch(params: Arrays, x: np.ndarray, labels: np.ndarray, dtype: str = "float64") -> Pass:
    """The whole pass in one precision; `retain_grad` keeps the error signal of every tensor."""
    leaves = {name: leaf(parameter_to_torch(array), dtype) for name, array in params.items()}
    loss, values = forward(
        leaves, leaf(x.transpose(0, 3, 1, 2), dtype), torch.from_numpy(labels.astype(np.int64))
    )
    for tensor in values.values():
        tensor.retain_grad()
    loss.backward()
    return Pass(
        loss.detach().numpy(),
        {name: to_flax(tensor.detach()) for name, tensor in values.items()},
        {name: to_flax(tensor.grad) for name, tensor in values.items()},
        {name: parameter_to_flax(tensor.grad) for name, tensor in leaves.items()},
    )


def leaf(array: np.ndarray, dtype: str) -> Tensor:
    """A leaf tensor of that precision, whose gradient autograd computes."""
    return torch.from_numpy(np.array(array, dtype, order="C")).requires_grad_()


def parameter_to_torch(array: np.ndarray) -> np.ndarray:
    """Kernels [h w in out] as [out in h w], the dense weight [in out] as [out in]; vectors as they are."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def parameter_to_flax(tensor: Tensor) -> np.ndarray:
    """The inverse of `parameter_to_torch`."""
    array = tensor.numpy()
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def to_flax(tensor: Tensor) -> np.ndarray:
    """Images [n c h w] as [n h w c]; rows as they are."""
    array = tensor.numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
