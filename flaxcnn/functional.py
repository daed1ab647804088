"""An NNX module as a pure function of a flat dictionary of parameters.

Once a model is built, all code uses this function, to which plain `jax.jit`, `jax.grad`, `jax.vmap` and
`jax.lax.scan` apply:

    apply(params, state, x, *, train, key, mask) -> (logits, state)

`params` and `state` (batch-norm statistics) are flat: `{"layer1.0.conv1.weight": array, ...}`, keyed as the
`state_dict` of the PyTorch twin. A flat dictionary is a pytree, is easy to print, and gives each array by name.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key, Num

from flaxcnn.errors import InvalidArgument

Parameters = dict[str, Float[Array, "..."]]
State = dict[str, Num[Array, "..."]]


@runtime_checkable
class Apply(Protocol):
    """The pure function of a model."""

    def __call__(
        self,
        params: Parameters,
        state: State,
        x: Float[Array, "n h w c"],
        *,
        train: bool,
        key: Key[Array, ""] | None = None,
        mask: Bool[Array, " n"] | None = None,
    ) -> tuple[Float[Array, "n k"], State]:
        """Return the logits of a batch and the statistics after it (in evaluation, unchanged)."""
        ...


class Functional(NamedTuple):
    """A model in two parts: the pure function and its initial arrays."""

    apply: Apply
    params: Parameters
    state: State


def functional(model: nnx.Module, *, compute_dtype: jnp.dtype | type | None = None) -> Functional:
    """Split `model` into a pure `apply`, its parameters and its state.

    Args:
        model: an NNX module called as `model(x, train=..., key=..., mask=...)`, such as every model of
            `flaxcnn.models`. It is not changed; its arrays are copied.
        compute_dtype: the dtype of parameters and images in the forward pass (`jnp.bfloat16` on accelerators).
            Parameters, statistics, gradients and logits keep their own dtype. `None` casts nothing.

    Returns:
        `(apply, params, state)`.

    Raises:
        InvalidArgument: the model holds variables that are neither `nnx.Param` nor `nnx.BatchStat`.
    """
    graph, params, state = _split(model)

    def apply(
        params: Parameters,
        state: State,
        x: Float[Array, "n h w c"],
        *,
        train: bool,
        key: Key[Array, ""] | None = None,
        mask: Bool[Array, " n"] | None = None,
    ) -> tuple[Float[Array, "n k"], State]:
        logits_dtype = x.dtype
        if compute_dtype is not None:
            params = {name: value.astype(compute_dtype) for name, value in params.items()}
            x = x.astype(compute_dtype)
        module = _merge(graph, params, state)
        logits = module(x, train=train, key=key, mask=mask)
        return logits.astype(logits_dtype), _flat(nnx.state(module, nnx.BatchStat))

    return Functional(apply, params, state)


def bind(model: nnx.Module, params: Parameters, state: State) -> nnx.Module:
    """A copy of `model` with these arrays instead of its own; `model` itself is not changed."""
    return _merge(_split(model)[0], params, state)


def fill(model: nnx.Module, params: Parameters, state: State) -> None:
    """Give `model` itself other arrays of the same names and shapes."""
    nnx.update(model, _nested(params, nnx.Param), _nested(state, nnx.BatchStat))


def _split(model: nnx.Module) -> tuple[nnx.GraphDef, Parameters, State]:
    graph, params, state, rest = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    if leftover := [_dotted(path) for path, _ in nnx.to_flat_state(rest)]:
        raise InvalidArgument(
            f"The model holds variables that are neither nnx.Param nor nnx.BatchStat: {', '.join(leftover)}; "
            "pass randomness as a key, and keep statistics in nnx.BatchStat."
        )
    return graph, _flat(params), _flat(state)


def _merge(graph: nnx.GraphDef, params: Parameters, state: State) -> nnx.Module:
    return nnx.merge(graph, _nested(params, nnx.Param), _nested(state, nnx.BatchStat), copy=True)


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path)


def _path(name: str) -> tuple[str | int, ...]:
    """The path of NNX for a name such as `layer1.0.conv1`: positions in a list become integers."""
    return tuple(int(part) if part.isdecimal() else part for part in name.split("."))


def _flat(state: nnx.State) -> dict[str, Num[Array, "..."]]:
    return {_dotted(path): jnp.array(variable[...]) for path, variable in nnx.to_flat_state(state)}


def _nested(arrays: dict[str, Num[Array, "..."]], kind: type[nnx.Variable]) -> nnx.State:
    return nnx.from_flat_state([(_path(name), kind(value)) for name, value in arrays.items()])
