"""Trace a function of a Flax model once for all runs of one kind, and evaluate the trace on each run's arrays.

Tracing costs as long as computing, and the runs of a check differ in little but their numbers: a layer that is fed
PyTorch's tensors and one that is fed synthetic ones are one program.
"""

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from parity.capture.evaluate import Evaluation, as_numpy
from parity.capture.shelf import Lazy, loaded
from parity.capture.source import line_of
from parity.capture.widen import narrowing_casts, widened

Keep = Callable[[np.ndarray], Any]
# A check takes turns among no more programs: in either precision as it runs, forced, and in a second training call.
_KEPT = 6


@dataclasses.dataclass(frozen=True)
class Traced:
    """A program and the structure of what it returns."""

    program: ClosedJaxpr
    structure: Any

    def evaluated(
        self, arguments: Any, keep: Keep | None, bits: Mapping[str, np.ndarray] = MappingProxyType({})
    ) -> Any:
        """The results on `arguments`; see `evaluated`, and for `bits` `Evaluation`."""
        flat = [
            _in_precision(leaf, aval.dtype)
            for leaf, aval in zip(jax.tree.leaves(arguments), self.program.in_avals, strict=True)
        ]
        return jax.tree.unflatten(self.structure, Evaluation(self.program, keep, bits).run(flat))


class Traces:
    """The latest programs of a model, each with what its tracing left behind."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[Traced, Any]] = OrderedDict()

    def evaluated(
        self,
        kind: Hashable,
        function: Callable[..., Any],
        *arguments: Any,
        beside: Callable[[], Any],
        keep: Keep | None = None,
        axes: Sequence[str] = (),
        casts: list[str] | None = None,
        bits: Mapping[str, np.ndarray] = MappingProxyType({}),
    ) -> tuple[Any, Any]:
        """As `evaluated`, but traced only if no kept program is of this kind and these shapes.

        Args:
            kind: of the function: all that it depends on beside its arguments.
            function, arguments, keep, axes, casts: see `evaluated`.
            beside: asked once a trace is made; what it says is given with the results of all runs of the trace.
            bits: see `Evaluation`.
        """
        leaves, structure = jax.tree.flatten(arguments)
        key = kind, structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
        if key not in self._kept:
            try:
                program = traced(function, *arguments, axes=axes, casts=casts)
            except jax.errors.ConcretizationTypeError:
                return _as_it_is(function, arguments, keep), beside()
            self._kept[key] = program, beside()
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        program, said = self._kept[key]
        return program.evaluated(arguments, keep, bits), said


def traced(
    function: Callable[..., Any], *arguments: Any, axes: Sequence[str] = (), casts: list[str] | None = None
) -> Traced:
    """The program of a function; see `evaluated`."""

    # JAX does not trace one function again; but a trace that failed, or that another setting made, is no other's.
    def fresh(*arguments: Any) -> Any:
        return function(*arguments)

    program, shapes = jax.make_jaxpr(fresh, return_shape=True, axis_env=[(name, 1) for name in axes])(
        *jax.tree.map(_shape, arguments)
    )
    if casts is not None:
        program = _without_casts(program, casts, axes)
    return Traced(program, jax.tree.structure(shapes))


def evaluated(
    function: Callable[..., Any],
    *arguments: Any,
    keep: Keep | None = None,
    axes: Sequence[str] = (),
    casts: list[str] | None = None,
) -> Any:
    """`function(*arguments)`, every array of it a NumPy array.

    A function whose Python code asks for the values of its arrays (`if x.sum() > 0`) cannot be traced; it is run as
    it is, operation by operation.

    Args:
        function: of pytrees of arrays, to pytrees of arrays.
        arguments: its arguments; an array may be lazy, and is then made whenever it is used.
        keep: what to give in place of a result, called as soon as nothing else needs it; the result itself if None.
        axes: names that the function sums over, bound to one device.
        casts: if given, casts from float64 to float32 are left out, and their lines in the model are added here.
    """
    try:
        program = traced(function, *arguments, axes=axes, casts=casts)
    except jax.errors.ConcretizationTypeError:
        return _as_it_is(function, arguments, keep)
    return program.evaluated(arguments, keep)


def _as_it_is(function: Callable[..., Any], arguments: Any, keep: Keep | None) -> Any:
    found = function(*jax.tree.map(lambda leaf: jnp.asarray(loaded(leaf)), arguments))
    return jax.tree.map(lambda leaf: as_numpy(leaf) if keep is None else keep(as_numpy(leaf)), found)


def _without_casts(program: ClosedJaxpr, casts: list[str], axes: Sequence[str]) -> ClosedJaxpr:
    narrowing = narrowing_casts(program.jaxpr)
    wide = widened(program, axes) if narrowing else None
    if wide is None:
        return program
    casts += [line_of(equation) for equation in narrowing]
    return wide


def _shape(leaf: Any) -> Any:
    """What tracing needs of a lazy array."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if isinstance(leaf, Lazy) else leaf


def _in_precision(leaf: Any, dtype: Any) -> Any:
    """An argument as it was traced: without x64 a float64 array counts as float32."""
    if isinstance(leaf, Lazy):
        return leaf if leaf.dtype == dtype else Lazy(leaf.shape, dtype, lambda: leaf.load().astype(dtype))
    array = as_numpy(leaf)
    return array.astype(dtype, copy=False) if isinstance(leaf, np.ndarray) else array
