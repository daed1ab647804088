"""Run a Flax model and record it: look only, or differentiate, as it runs or forced.

The model is traced once for each run, and the trace walked through: see `parity.capture.evaluate`.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError, TraceContextError

from parity.capture.axes import with_axes
from parity.capture.evaluate import as_numpy
from parity.capture.inlining import inlined
from parity.capture.intercept import Forced, Interceptor, is_floating, pull, trace_state
from parity.capture.owner import Owner
from parity.capture.shelf import Arrays, Lazy, Shelf, loaded
from parity.capture.trace import Call, Trace
from parity.capture.traced import Traces
from parity.errors import CannotCompare
from parity.verdict.policy import COARSE


@runtime_checkable
class FlaxModel(Protocol):
    """What the engine asks of a Flax model: flat arrays by name, and one pure call.

    `axes` are names of mapped axes that it uses; `inlined`: its jit, scan, remat are written out; `output` is the part
    of its output that is compared, `parts` the names of PyTorch's parts in their order. With `unpin` its pins to
    float32 are lifted in float64 runs; `pins` (dtypes by module) and `casts` (lines) are those that were found.
    `traces` are those of its latest runs.
    """

    framework: str
    params: dict[str, np.ndarray]
    state: dict[str, np.ndarray]
    axes: list[str]
    inlined: bool
    output: str | None
    parts: tuple[str, ...]
    unpin: bool
    pins: dict[str, str]
    casts: list[str]
    traces: Traces

    def owners(self) -> list[Owner]:
        """The modules that hold arrays of their own."""
        ...

    def run(
        self,
        params: dict[str, Any],
        state: dict[str, Any],
        inputs: list[Any],
        *,
        mode: str,
        seed: int,
        interceptor: Interceptor,
    ) -> tuple[Any, dict[str, Any]]:
        """Call the model; return its output and the state after it."""
        ...

    def later(self) -> "FlaxModel":
        """The model as it draws in a later call, given another seed too."""
        ...


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """JAX as the user runs it: x64 on for float64 and off for float32, default promotion rules."""
    with (
        jax.enable_x64(dtype == "float64"),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def _as_dtype(arrays: dict[str, np.ndarray], dtype: str) -> dict[str, Any]:
    """The arrays, the floating ones in `dtype`, which they are given where they are used."""
    return {name: _converted(a, dtype) if is_floating(a) else a for name, a in arrays.items()}


def _converted(array: np.ndarray, dtype: str) -> Any:
    if array.dtype == dtype:
        return array
    return Lazy(array.shape, dtype, lambda: array.astype(dtype))


def capture_flax(
    model: FlaxModel,
    params: dict[str, np.ndarray],
    state: dict[str, np.ndarray],
    inputs: list[np.ndarray],
    *,
    mode: str,
    dtype: str,
    seed: int,
    output_cotangents: list[Any] | None = None,
    observed: Trace | None = None,
    forced: dict[str, Forced] | None = None,
    dropout_masks: dict[str, np.ndarray] | None = None,
    bits: Mapping[str, np.ndarray] = MappingProxyType({}),
    on_disk: bool = False,
) -> Trace:
    """Record one run.

    Args:
        model: the adapter.
        params: parameters by Flax name.
        state: other arrays by Flax name.
        inputs: in Flax's layout.
        mode: "train" or "eval".
        dtype: "float32" or "float64".
        seed: of the model's own randomness.
        output_cotangents: the cotangent of each output, in Flax's layout.
        observed: an earlier forward run, which tells where probes go; None records forward only.
        forced: PyTorch's tensors by call; None lets the model run as it is.
        dropout_masks: PyTorch's dropout factors by call.
        bits: for masks that are drawn between calls; see `Evaluation`.
        on_disk: keep the arrays in a temporary file.

    Raises:
        CannotCompare: the model raises, or compiles a part of itself so that its tensors cannot be seen.
    """
    recorder: list[Interceptor] = []
    pins = model.pins if dtype == "float64" and model.unpin else None
    keep = Shelf().put if on_disk else as_numpy
    with precision(dtype), refusals(recorder):
        given = Given(
            before=_as_dtype(state, dtype),
            inputs=[x.astype(dtype, copy=False) if is_floating(x) else x for x in inputs],
            trained={k: v for k, v in _as_dtype(params, dtype).items() if is_floating(v)},
            fixed={k: v for k, v in params.items() if not is_floating(v)},
            forced=forced or {},
            masks=_as_dtype(dropout_masks or {}, dtype),
            output_cotangents=output_cotangents or [],
        )

        def objective(trained: dict[str, Any], probes: dict[str, Any], given: Given) -> Any:
            interceptor = Interceptor(probes, given.forced, given.masks)
            interceptor.output, interceptor.parts = model.output, model.parts
            interceptor.outermost = trace_state() if model.inlined else None
            interceptor.pins = pins
            recorder[:] = [interceptor]
            after = _run(model, given._replace(trained=trained), mode, seed, interceptor)
            terms = interceptor.objective
            if not given.forced:
                terms = _projection(interceptor.arrays, given.output_cotangents)
            total = pull([array for array, _ in terms], [cotangent for _, cotangent in terms])
            return total, (interceptor.arrays, after)

        trained, given = given.trained, given._replace(trained={})
        casts: list[str] | None = None if pins is None else model.casts
        probes = {} if observed is None else _probes(observed, dtype)

        def looked_at(trained: dict[str, Any], probes: dict[str, Any], given: Given) -> Any:
            return ({}, {}), objective(trained, probes, given)[1]

        def run() -> Any:
            kind = mode, dtype, seed, observed is None, pins is None, model.inlined, tuple(model.axes)
            return model.traces.evaluated(
                kind,
                looked_at if observed is None else jax.grad(objective, (0, 1), has_aux=True),
                trained,
                probes,
                given,
                beside=lambda: recorder[0].calls,
                keep=keep,
                axes=model.axes,
                casts=casts,
                bits=bits,
            )

        ((gradients, cotangents), (arrays, after)), calls = taken_through(model, run)
        parts = arrays, gradients, cotangents, given.before, after
        return _trace(model.framework, mode, dtype, calls, parts)


class Given(NamedTuple):
    """All arrays that a run is given: none is a constant of its program.

    Attributes:
        before: the state.
        inputs: in Flax's layout.
        trained: parameters by Flax name.
        fixed: parameters that are whole numbers.
        forced, masks, output_cotangents: see `capture_flax`.
    """

    before: dict[str, Any]
    inputs: list[Any]
    trained: dict[str, Any]
    fixed: dict[str, Any]
    forced: dict[str, Forced]
    masks: dict[str, Any]
    output_cotangents: list[Any]


def _run(model: FlaxModel, given: Given, mode: str, seed: int, interceptor: Interceptor) -> dict[str, Any]:
    """Call the model; the state after."""
    params = {**given.trained, **given.fixed}
    with inlined(model.inlined):
        _, after = model.run(
            params, given.before, given.inputs, mode=mode, seed=seed, interceptor=interceptor
        )
    return after


_TRANSFORMED = (jax.errors.UnexpectedTracerError, jax.errors.TracerArrayConversionError, TraceContextError)
# What a model raises on an input that it was not made for.
_RAISED = (TypeError, ValueError, AttributeError, LookupError, AssertionError, ArithmeticError, FlaxError)


def taken_through(model: FlaxModel, run: Callable[[], Any]) -> Any:
    """The result of `run`, with what the model needs: named axes bound, its own jit and scan written out."""
    try:
        return with_axes(model.axes, run)
    except _TRANSFORMED:
        if model.inlined:
            raise
        # Its jit, scan and remat are written out; inside a remat that a decorator made, no call is recorded.
        model.inlined = True
        return with_axes(model.axes, run)


def look_at_flax(
    model: FlaxModel,
    params: dict[str, np.ndarray],
    state: dict[str, np.ndarray],
    inputs: list[np.ndarray],
    *,
    seed: int,
) -> Trace:
    """The calls of a float32 run in eval mode, without tensors: the model is traced, and nothing is computed.

    Raises:
        CannotCompare: as `capture_flax`.
    """
    recorder: list[Interceptor] = []
    with precision("float32"), refusals(recorder):
        given = Given(state, inputs, params, {}, {}, {}, [])

        def arrays(given: Given) -> Any:
            recorder[:] = [interceptor := Interceptor()]
            interceptor.output, interceptor.parts = model.output, model.parts
            interceptor.outermost = trace_state() if model.inlined else None
            after = _run(model, given, "eval", seed, interceptor)
            return interceptor.arrays, after

        def run() -> None:
            try:
                jax.make_jaxpr(arrays, axis_env=[(name, 1) for name in model.axes])(given)
            except jax.errors.ConcretizationTypeError:
                # Python code of the model asks for values, so it is given them.
                arrays(jax.tree.map(jnp.asarray, given))

        taken_through(model, run)
        return Trace(model.framework, "eval", "float32", tuple(recorder[0].calls), Arrays())


@contextlib.contextmanager
def refusals(recorder: list[Interceptor]) -> Iterator[None]:
    """What goes wrong in the user's model, in one sentence."""
    try:
        yield
    except _TRANSFORMED as error:
        raise CannotCompare(
            "The Flax model compiles or transforms a part of itself (jit, scan, vmap or remat inside its call), "
            "so the tensors inside cannot be recorded: build it without, for the comparison."
        ) from error
    except _RAISED as error:
        raise CannotCompare(_failure(recorder, error)) from error


def _projection(arrays: dict[str, Any], cotangents: list[Any]) -> list[tuple[Any, Any]]:
    terms = []
    for index, cotangent in enumerate(cotangents):
        output = arrays.get(f"#0/output/{index}")
        if output is not None and cotangent is not None and is_floating(output):
            terms.append((output, jnp.asarray(cotangent, output.dtype)))
    return terms


def _probes(observed: Trace, dtype: str) -> dict[str, Any]:
    """A zero for each probed tensor; probes of one shape are one array, so that they cost no memory."""
    zeros: dict[Any, Any] = {}
    probes = {}
    for name, wanted in _probed(observed, dtype):
        kind = (wanted.shape, wanted.dtype)
        if kind not in zeros:
            zeros[kind] = np.broadcast_to(np.zeros((), wanted.dtype), wanted.shape)
        probes[name] = zeros[kind]
    return probes


def _probed(observed: Trace, dtype: str) -> Iterator[tuple[str, Any]]:
    """The tensors that get a probe: floating outputs of all calls, inputs of leaf calls and of the model."""
    for call in observed.calls:
        counts = {"output": call.outputs, "input": call.inputs if not call.inner or not call.path else 0}
        for what, count in counts.items():
            for index in range(count):
                array = observed.get(call, what, index)
                if array is not None and is_floating(array):
                    wide = jnp.dtype(dtype) if array.dtype == np.float32 else array.dtype
                    yield f"{call.key}/{what}/{index}", jax.ShapeDtypeStruct(array.shape, wide)


def _trace(
    framework: str, mode: str, dtype: str, calls: list[Call], parts: tuple[dict[str, Any], ...]
) -> Trace:
    arrays, gradients, cotangents, before, after = parts
    inside = {f"{call.key}/input/" for call in calls if call.inner and call.path}
    found = {name: _numpy(a) for name, a in arrays.items() if f"{name.rpartition('/')[0]}/" not in inside}
    for name, cotangent in cotangents.items():
        key, what, index = name.rsplit("/", 2)
        found[f"{key}/{what}_cotangent/{index}"] = _numpy(cotangent)
    found.update({f"gradient/{name}": _numpy(g) for name, g in gradients.items()})
    found.update({f"state_before/{name}": _numpy(a) for name, a in before.items()})
    found.update({f"state_after/{name}": _numpy(a) for name, a in after.items()})
    dtypes = {name: a.dtype.name for name, a in arrays.items() if a.dtype.name in COARSE}
    return Trace(framework, mode, dtype, tuple(calls), Arrays(found), dtypes)


def _numpy(array: Any) -> Any:
    return np.asarray(loaded(array), np.float32) if array.dtype.name in COARSE else array


def _failure(recorder: list[Interceptor], error: Exception) -> str:
    active = recorder[0].active if recorder else []
    where = next((path for path in reversed(active) if path), "")
    place = f"in the module {where!r}" if where else "outside its submodules"
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    advice = "check the input's shape (NHWC)"
    if "rngs" in reason:
        advice = "give the module random numbers as it is built, or compare with --mode eval"
    if isinstance(error, TypeError) and "argument" in reason:
        advice = "if an argument tells the mode, give --flax-train NAME=VALUE and --flax-eval NAME=VALUE"
    return f"The Flax model raised {type(error).__name__} {place}: {reason}; {advice}."
