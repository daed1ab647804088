"""An NNX module as a pure function of a flat dictionary of parameters.

Everything after a model's construction speaks this contract, on which plain `jax.jit`, `jax.grad`, `jax.vmap`
and `jax.lax.scan` act:

    apply(params, state, x, *, train, key, mask) -> (logits, state)

`params` and `state` (batch-norm statistics) are flat: `{"layer1.0.conv1.weight": array, ...}`, keyed as the
`state_dict` of the PyTorch twin. A flat dictionary is a pytree, prints well, and is selected from by name.
"""

from typing import NamedTuple, Protocol

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key, Num

Parameters = dict[str, Float[Array, "..."]]
State = dict[str, Num[Array, "..."]]


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
        """Logits of a batch and the statistics after it (in evaluation, the same as before)."""
        ...


class Functional(NamedTuple):
    """A model taken apart: the pure function and the arrays it starts from."""

    apply: Apply
    params: Parameters
    state: State


def functional(model: nnx.Module, *, compute_dtype: jnp.dtype | type | None = None) -> Functional:
    """Split `model` into a pure `apply`, its parameters and its state.

    Args:
        model: an NNX module called as `model(x, train=..., key=..., mask=...)`, which all of
            `flaxcnn.models` are. It is read, not changed; the arrays are copied.
        compute_dtype: cast parameters and images to it in the forward pass (`jnp.bfloat16` on accelerators);
            parameters, statistics, gradients and logits keep their own dtype. `None` computes in theirs.

    Returns:
        `(apply, params, state)`.

    Raises:
        ValueError: the model holds variables that are neither `nnx.Param` nor `nnx.BatchStat`.
    """
    graph, params, state, rest = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    if leftover := [_dotted(path) for path, _ in nnx.to_flat_state(rest)]:
        raise ValueError(
            f"The model holds variables that are neither nnx.Param nor nnx.BatchStat: {', '.join(leftover)}; "
            "pass randomness as a key, and keep statistics in nnx.BatchStat."
        )
    paths = {_dotted(path): path for path, _ in nnx.to_flat_state(nnx.merge_state(params, state))}

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
        module = nnx.merge(
            graph,
            nnx.from_flat_state([(paths[name], nnx.Param(value)) for name, value in params.items()]),
            nnx.from_flat_state([(paths[name], nnx.BatchStat(value)) for name, value in state.items()]),
            copy=True,
        )
        logits = module(x, train=train, key=key, mask=mask)
        return logits.astype(logits_dtype), _flat(nnx.state(module, nnx.BatchStat))

    return Functional(apply, _flat(params), _flat(state))


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path)


def _flat(state: nnx.State) -> dict[str, Num[Array, "..."]]:
    return {_dotted(path): jnp.array(variable[...]) for path, variable in nnx.to_flat_state(state)}
