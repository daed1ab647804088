"""Compares pure functions one by one: outputs, and gradients by JAX and by the rules by hand.

A case of a layer needs a model and four captures of its calls. Here a small function is one program for each precision,
so that cases of defaults and corners take little time.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from parity.capture.flax import precision
from parity.comparison.direct import Compared
from parity.errors import CannotCompare

Arrays = dict[str, np.ndarray]
Recorded = dict[str, np.ndarray]
# The transposition from PyTorch's layout to Flax's, by the first word of an array's name; others have one layout.
_AXES = {"images": (0, 2, 3, 1), "kernel": (2, 3, 1, 0), "matrix": (1, 0)}
_BY_HAND = " by hand"
# Programs run once, so that LLVM's optimisation takes longer than it saves.
_QUICKLY = {"xla_backend_optimization_level": 0}


@dataclasses.dataclass(frozen=True)
class Op:
    """One function of both sides.

    Attributes:
        name: names the location of a difference.
        given: the arguments by name, in PyTorch's layout; arrays whose names begin with "images", "kernel" or
            "matrix" are transposed to Flax's.
        torch, flax: called with the arguments in their order; both return an output, or a tuple of an output that is
            differentiated and of state that is only compared. Outputs of four axes are images.
        backward: the rule by hand, called with the cotangent of the output and the arguments; one gradient for
            each of `differentiated`.
        differentiated: the names of the arguments whose gradients are compared.
        shown: whether the output is compared too; an output of minus infinity has no gap.
    """

    name: str
    given: Arrays
    torch: Callable[..., Any]
    flax: Callable[..., Any]
    backward: Callable[..., Any] | None = None
    differentiated: tuple[str, ...] = ()
    shown: bool = True


def compare(ops: Sequence[Op], generator: np.random.Generator) -> list[Compared]:
    """Every tensor of every function, computed by both sides in both precisions.

    Args:
        ops: with names of their own.
        generator: of the cotangents.

    Raises:
        CannotCompare: a value is not finite.
    """
    shapes = [tuple(_first(_torch_output(op, "float64")).shape) for op in ops]
    cotangents = [generator.standard_normal(shape).astype(np.float32) for shape in shapes]
    torch_runs = [
        [_torch(op, cotangent, dtype) for op, cotangent in zip(ops, cotangents, strict=True)]
        for dtype in ("float32", "float64")
    ]
    flax_runs = [
        [_flax(op, cotangent, dtype) for op, cotangent in zip(ops, cotangents, strict=True)]
        for dtype in ("float32", "float64")
    ]
    compared = []
    for op, *sides in zip(ops, *torch_runs, *flax_runs, strict=True):
        # In PyTorch's order, since JAX sorts names; the gradients by hand come last.
        for name in (*sides[1], *(name for name in sides[-1] if name.endswith(_BY_HAND))):
            arrays = [side[name.removesuffix(_BY_HAND)] for side in sides[:2]] + [s[name] for s in sides[2:]]
            if not all(np.isfinite(array).all() for array in arrays):
                raise CannotCompare(f"{op.name}: {name} is not finite, so nothing can be proven of it.")
            phase = "backward" if name.startswith("gradient") else "forward"
            compared.append(Compared(op.name, name, phase, *arrays))
    return compared


def _torch(op: Op, cotangent: np.ndarray, dtype: str) -> Recorded:
    tensors = _tensors(op, dtype)
    result = op.torch(*tensors.values())
    recorded = _named(op, result, lambda value: value.detach().numpy())
    if op.differentiated:
        wanted = [tensors[name] for name in op.differentiated]
        gradients = torch.autograd.grad(_first(result), wanted, torch.tensor(cotangent.astype(dtype)))
        recorded |= {f"gradient of {n}": g.numpy() for n, g in zip(op.differentiated, gradients, strict=True)}
    return recorded


def _torch_output(op: Op, dtype: str) -> Any:
    with torch.no_grad():
        return op.torch(*_tensors(op, dtype).values())


def _tensors(op: Op, dtype: str) -> dict[str, torch.Tensor]:
    # A copy: a module may write into its inputs.
    tensors = {name: torch.tensor(_cast(array, dtype)) for name, array in op.given.items()}
    for name in op.differentiated:
        tensors[name].requires_grad_()
    return tensors


def _flax(op: Op, cotangent: np.ndarray, dtype: str) -> Recorded:
    """Everything in one program: compiling operation by operation would take longest."""
    with precision(dtype):
        given = {
            name: jnp.asarray(_flax_layout(name, _cast(array, dtype))) for name, array in op.given.items()
        }
        pull = jnp.asarray(_flax_output_layout(cotangent.astype(dtype)))
        recorded = jax.jit(functools.partial(_flax_recorded, op), compiler_options=_QUICKLY)(given, pull)
    return {name: _torch_layout(name, np.asarray(value)) for name, value in recorded.items()}


def _flax_recorded(op: Op, given: dict[str, jax.Array], cotangent: jax.Array) -> dict[str, jax.Array]:
    def forward(*wanted: jax.Array) -> tuple[jax.Array, Any]:
        result = op.flax(*_in_order(op, given | dict(zip(op.differentiated, wanted, strict=True))))
        return _first(result), result

    wanted = [given[name] for name in op.differentiated]
    _, back, result = jax.vjp(forward, *wanted, has_aux=True)
    recorded = _named(op, result, lambda value: value)
    recorded |= {f"gradient of {n}": g for n, g in zip(op.differentiated, back(cotangent), strict=True)}
    if op.backward is not None:
        by_hand = op.backward(cotangent, *_in_order(op, given))
        by_hand = by_hand if isinstance(by_hand, tuple) else (by_hand,)
        names = [f"gradient of {name}{_BY_HAND}" for name in op.differentiated]
        recorded |= dict(zip(names, by_hand, strict=True))
    return recorded


def _in_order(op: Op, given: dict[str, jax.Array]) -> list[jax.Array]:
    """The arguments in the order of `op.given`: JAX sorts the names of the arguments that it compiles."""
    return [given[name] for name in op.given]


def _named(op: Op, result: Any, read: Callable[[Any], Any]) -> dict[str, Any]:
    values = result if isinstance(result, tuple) else (result,)
    names = ["output", *(f"state {number}" for number in range(1, len(values)))]
    kept = zip(names, values, strict=True) if op.shown else zip(names[1:], values[1:], strict=True)
    return {name: read(value) for name, value in kept}


def _first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


def _cast(array: np.ndarray, dtype: str) -> np.ndarray:
    return array.astype(dtype) if array.dtype.kind == "f" else array


def _flax_layout(name: str, array: np.ndarray) -> np.ndarray:
    axes = _AXES.get(name.partition("_")[0])
    return array if axes is None else array.transpose(axes)


def _flax_output_layout(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, 1, -1) if array.ndim == 4 else array


def _torch_layout(name: str, array: np.ndarray) -> np.ndarray:
    """A result of Flax in PyTorch's layout."""
    argument = name.removesuffix(_BY_HAND).removeprefix("gradient of ")
    axes = _AXES.get(argument.partition("_")[0])
    if axes is not None:
        return array.transpose(np.argsort(axes))
    return np.moveaxis(array, -1, 1) if array.ndim == 4 else array
