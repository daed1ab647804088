"""What happens at each call of a Flax module during a captured run.

A *probe* is a zero that is added to a tensor in name only: `tap` returns the tensor and, backward, hands its
cotangent to the probe as well. One `jax.grad` over parameters and probes gives every gradient of the run.

A *free* run only looks. A *forced* run cuts the model at every site that PyTorch has too: each layer is fed
PyTorch's recorded input x and differentiated with PyTorch's recorded cotangent g, and hands on PyTorch's
recorded output y, whatever it computed itself:

    arrived --record-->   f(tap(x)) --record-->   tap(y)
    objective += <arrived, cotangent of x> + <f(tap(x)), g>

So what a layer computes is what it *introduces*; what arrives at the next layer is what the connection between
them introduces, forward and backward; nothing is inherited.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import get_opaque_trace_state

from parity.capture.source import called_from
from parity.capture.trace import Call
from parity.capture.trees import in_order, list_tensors, map_tensors, selected


class Forced(NamedTuple):
    """PyTorch's tensors at one site, in Flax's layout; a cotangent that was not recorded is None.

    A container has no inputs: only its output is forced.
    """

    inputs: tuple[Any, ...]
    input_cotangents: tuple[Any, ...]
    outputs: tuple[Any, ...]
    output_cotangents: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Module:
    """What the interception needs to know of the module that is called."""

    path: str
    kind: str
    class_name: str
    source: str


def trace_state() -> Any:
    """What JAX traces at the moment: equal for two places if their tensors may meet."""
    return get_opaque_trace_state(convention="nnx")


def is_array(value: object) -> bool:
    """An array or tracer of numbers (typed random keys are not)."""
    return isinstance(value, (jax.Array, np.ndarray)) and not jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def is_floating(value: Any) -> bool:
    """Whether a cotangent exists for the array."""
    return bool(jnp.issubdtype(value.dtype, jnp.floating))


@jax.custom_vjp
def tap(x: Any, probe: Any) -> Any:
    """The value of x; its cotangent goes to x and to `probe`. No arithmetic, so nothing is rounded or compiled."""
    return x


def _tap_forward(x: Any, probe: Any) -> tuple[Any, None]:
    return x, None


def _tap_backward(_: None, cotangent: Any) -> tuple[Any, Any]:
    return cotangent, cotangent


tap.defvjp(_tap_forward, _tap_backward)


@jax.custom_vjp
def pull(arrays: list[Any], cotangents: list[Any]) -> Any:
    """A scalar whose derivative by each of the arrays is its cotangent: the sum of their inner products.

    Nobody reads its value, so none is computed, which saves a compiled program for every shape.
    """
    return jnp.asarray(np.zeros((), np.float32))


def _pull_forward(arrays: list[Any], cotangents: list[Any]) -> tuple[Any, list[Any]]:
    return pull(arrays, cotangents), cotangents


def _pull_backward(cotangents: list[Any], _: Any) -> tuple[list[Any], None]:
    # The scalar is the objective itself, whose own cotangent is 1.
    return cotangents, None


pull.defvjp(_pull_forward, _pull_backward)


class Interceptor:
    """Records one run; see the module's docstring. Make a new one for every run."""

    def __init__(
        self,
        probes: dict[str, Any] | None = None,
        forced: dict[str, Forced] | None = None,
        dropout_masks: dict[str, Any] | None = None,
    ) -> None:
        """Without arguments the run is only observed.

        Args:
            probes: zeros to add, by the name of the recorded array.
            forced: PyTorch's tensors by the key of the call ("path#n").
            dropout_masks: the factor by which PyTorch multiplied each element, by the key of the call.
        """
        self.probes = probes or {}
        self.forced = forced or {}
        self.dropout_masks = dropout_masks or {}
        self.calls: list[Call] = []
        self.arrays: dict[str, Any] = {}
        self.objective: list[tuple[Any, Any]] = []
        self.counts: dict[str, int] = {}
        self.previous_output: list[Any] = []
        self.active: list[str] = []
        self.outermost: Any = None  # the trace of the run; calls inside another one are not recorded
        self.pins: dict[str, str] | None = (
            None  # set in a float64 run: modules that pinned float32, see `unpin`
        )
        self.output: str | None = None  # the part of the model's output that is compared
        self.parts: tuple[str, ...] = ()  # of PyTorch's output, in the order in which they are compared

    def call(self, module: Module, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run one call of a module, recording it and, where asked, forcing it."""
        if self.outermost is not None and trace_state() != self.outermost:
            return function(*args, **kwargs)
        nth = self.counts.get(module.path, 0)
        self.counts[module.path] = nth + 1
        key = f"{module.path}#{nth}"
        forced = self.forced.get(key)
        finished_before = len(self.calls)
        called = called_from()
        self.active.append(module.path)
        index = iter(range(1_000_000))

        def enter(_: str, array: Any) -> Any:
            return self._input(key, next(index), array, forced)

        args, kwargs = map_tensors((args, kwargs), is_array, enter)
        masked = key in self.dropout_masks
        output = self._dropout(key, function, args, kwargs) if masked else function(*args, **kwargs)
        self.active.pop()
        if self.output is not None and not module.path:
            output = selected(output, self.output)
        if not module.path:
            output = in_order(output, is_array, self.parts)
        outputs = [array for _, array in list_tensors(output, is_array)]
        same = len(outputs) == len(self.previous_output) and all(
            a is b for a, b in zip(outputs, self.previous_output, strict=True)
        )
        out_index = iter(range(1_000_000))

        def leave(_: str, array: Any) -> Any:
            return self._output(key, next(out_index), array, forced)

        output = map_tensors(output, is_array, leave)
        inner = len(self.calls) - finished_before
        self.calls.append(
            Call(
                path=module.path,
                nth=nth,
                kind=module.kind,
                class_name=module.class_name,
                source=module.source,
                inputs=next(index),
                outputs=next(out_index),
                inner=inner,
                same_as_previous=bool(inner and same),
                called=called,
            )
        )
        self.previous_output = [array for _, array in list_tensors(output, is_array)]
        return output

    def _input(self, key: str, index: int, array: Any, forced: Forced | None) -> Any:
        name = f"{key}/input/{index}"
        self.arrays[name] = array
        if forced is not None and forced.inputs:
            self._count(array, forced.input_cotangents[index])
            array = jnp.asarray(forced.inputs[index])
        probe = self.probes.get(name)
        return array if probe is None else tap(array, probe)

    def _output(self, key: str, index: int, array: Any, forced: Forced | None) -> Any:
        name = f"{key}/output/{index}"
        self.arrays[name] = array
        if forced is not None:
            self._count(array, forced.output_cotangents[index])
            # In PyTorch's dtype: a layer that pins its own must not make the next one imprecise.
            array = jnp.asarray(forced.outputs[index])
        probe = self.probes.get(name)
        return array if probe is None else tap(array, probe)

    def _dropout(self, key: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        x = next(array for _, array in list_tensors((args, kwargs), is_array))
        factor = jnp.asarray(self.dropout_masks[key], x.dtype)
        ones = map_tensors((args, kwargs), is_array, lambda _, a: jnp.ones_like(a) if is_floating(a) else a)
        own = next(array for _, array in list_tensors(function(*ones[0], **ones[1]), is_array))
        # PyTorch's choice of elements, Flax's own scale: a wrong rate shows as a wrong output. If Flax drops
        # nothing here, it has none, and `parity.probe.chance` says so.
        scale = jnp.max(own)
        is_known = jnp.any(own == 0) & jnp.all((own == 0) | (own == scale)) & (scale != 0)
        return x * jnp.where(is_known & (factor != 0), jnp.broadcast_to(scale, x.shape), factor)

    def _count(self, array: Any, cotangent: Any) -> None:
        if cotangent is not None and is_floating(array):
            self.objective.append((array, jnp.asarray(cotangent, array.dtype)))
