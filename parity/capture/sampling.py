"""Which calls of a run draw random numbers, and samples of what they draw.

A call's module is run as it is, more times than the model runs it, on a batch of its own: nothing is put into it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from parity.capture.axes import with_axes
from parity.capture.find_draws import masks_of
from parity.capture.flax import FlaxModel, precision
from parity.capture.functional_draws import FunctionalDraws
from parity.capture.inlining import inlined
from parity.capture.intercept import Interceptor, Module, is_floating, trace_state
from parity.capture.torch import numpy_of, prepare, tensors_from
from parity.capture.trace import Call, Trace
from parity.capture.traced import evaluated
from parity.capture.trees import list_tensors, map_tensors
from parity.capture.written_draws import Mask

# Every sampled call is made this often: enough for an exact test where all that a call drops is one draw.
CALLS = 20
_DRAWS = ("random_bits", "rng_bit_generator", "random_gamma")
# What to feed a call in place of each of its tensors, in the side's own layout; None leaves one as it is.
Fed = tuple[np.ndarray | None, ...]


@dataclasses.dataclass(frozen=True)
class Samples:
    """What came of the calls that were sampled.

    Attributes:
        outputs: by the key of the call, the first floating output of every turn, as [turn, ...].
        epsilons: the rounding of the dtype that it has.
        failures: why there is none, by key.
    """

    outputs: dict[str, np.ndarray]
    epsilons: dict[str, float]
    failures: dict[str, str]


def with_draws(
    trace: Trace,
    model: FlaxModel,
    params: dict[str, np.ndarray],
    state: dict[str, np.ndarray],
    inputs: list[np.ndarray],
    seed: int,
) -> Trace:
    """The trace of a Flax run, its calls marked that draw random numbers themselves; nothing is computed.

    The model is traced once more. What a recorded tensor is computed from, back to the tensors recorded before it,
    belongs to one call: to its own, or where it is an input to the call around.
    """
    recorder = [Interceptor()]

    def run(params: Any, state: Any, inputs: Any) -> dict[str, Any]:
        recorder[0] = Interceptor()
        recorder[0].outermost = trace_state() if model.inlined else None
        with inlined(model.inlined):
            model.run(params, state, inputs, mode=trace.mode, seed=seed, interceptor=recorder[0])
        return recorder[0].arrays

    def traced() -> ClosedJaxpr:
        return jax.make_jaxpr(run, axis_env=[(name, 1) for name in model.axes])(params, state, inputs)

    with precision("float32"):
        try:
            program = with_axes(model.axes, traced)
        except jax.errors.ConcretizationTypeError:
            # Python code of the model asks for values: no program shows what it draws.
            return trace
        if not any(map(_is_draw, program.jaxpr.eqns)):
            return trace
        positions = {name: position for position, name in enumerate(sorted(recorder[0].arrays))}
        given = len(params), jax.tree.leaves(state)
        fixed = {given[0] + number: leaf for number, leaf in enumerate(given[1])}
        in_order = {name: positions[name] for name in recorder[0].arrays}
        masks = masks_of(program, in_order, fixed, model.axes, _is_draw)
    recorded = {name: program.jaxpr.outvars[position] for name, position in in_order.items()}
    drawn, made_from = _drawn(program.jaxpr, recorded)
    calls = _marked(trace.calls, drawn)
    return dataclasses.replace(trace, calls=calls, drawn=frozenset(drawn), made_from=made_from, masks=masks)


def without_masks(trace: Trace, masks: Sequence[Mask]) -> Trace:
    """The trace of `with_draws`, as if these masks were not drawn."""
    drawn = trace.masks.reached_without(masks)
    return dataclasses.replace(trace, calls=_marked(trace.calls, list(drawn)), drawn=drawn)


def _drawn(jaxpr: Jaxpr, recorded: dict[str, Any]) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """The recorded tensors that are computed from random numbers, not by way of another recorded tensor.

    A tensor of several names has the first: one layer's output is the next one's input. The second result says of each
    name from which others its tensor is made.
    """
    producers = {variable: equation for equation in jaxpr.eqns for variable in equation.outvars}
    names = {atom: name for name, atom in reversed(recorded.items()) if isinstance(atom, Var)}
    others = {name: (names[a],) for name, a in recorded.items() if isinstance(a, Var) and names[a] != name}
    found = []
    for start, name in names.items():
        seen: set[Var] = set()
        before: dict[str, None] = {}
        waiting = [start]
        while waiting:
            variable = waiting.pop()
            if variable in names and variable is not start:
                before[names[variable]] = None
                continue
            equation = producers.get(variable)
            if equation is None or variable in seen:
                continue
            seen.add(variable)
            if _is_draw(equation) and (not found or found[-1] != name):
                found.append(name)
            # A loop that draws may take another recorded tensor too.
            waiting += [atom for atom in equation.invars if not isinstance(atom, Literal)]
        others[name] = tuple(before)
    return found, others


def _is_draw(equation: JaxprEqn) -> bool:
    """Whether an operation draws, or a function that it stands for."""
    if equation.primitive.name in _DRAWS:
        return True
    inner = jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda value: isinstance(value, (Jaxpr, ClosedJaxpr))
    )
    return any(
        any(map(_is_draw, getattr(value, "jaxpr", value).eqns))
        for value in inner
        if isinstance(value, (Jaxpr, ClosedJaxpr))
    )


def _marked(calls: tuple[Call, ...], drawn: list[str]) -> tuple[Call, ...]:
    """The calls, marked where what they compute themselves draws."""
    around: dict[str, int] = {}
    for position, call in enumerate(calls):
        for inside in calls[position - call.inner : position]:
            around.setdefault(inside.key, position)
    positions = {call.key: position for position, call in enumerate(calls)}
    marked = set()
    for name in drawn:
        key, what, _ = name.rsplit("/", 2)
        marked.add(positions[key] if what == "output" else around.get(key, len(calls) - 1))
    return tuple(dataclasses.replace(call, draws=p in marked) for p, call in enumerate(calls))


class _Sampler(Interceptor):
    """Records, and calls the functions of some calls again."""

    def __init__(self, fed: dict[str, Fed]) -> None:
        super().__init__()
        self.fed = fed
        self.sampled: dict[str, list[Any]] = {}
        self.failures: dict[str, str] = {}
        self.sampling = False

    def call(self, module: Module, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run one call of a module, and sample it where asked."""
        inner = self.outermost is not None and trace_state() != self.outermost
        if self.sampling or inner:
            return function(*args, **kwargs)
        key = f"{module.path}#{self.counts.get(module.path, 0)}"
        output = super().call(module, function, args, kwargs)
        if key in self.fed:
            self.sampling = True
            try:
                self.sampled[key] = [self._again(key, turn, function, args, kwargs) for turn in range(CALLS)]
            except Exception as error:
                # Whatever the user's code raises: it cannot be run on this batch, and that is said.
                self.failures[key] = _reason(error)
            finally:
                self.sampling = False
        return output

    def _again(self, key: str, turn: int, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        fed = iter(self.fed[key])
        examples = next((array.shape[0] for array in self.fed[key] if array is not None), 1)

        def replace(_: str, array: Any) -> Any:
            # Typed keys are no inputs of a trace; keys as whole numbers are.
            typed = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
            given = None if typed else next(fed, None)
            if typed or (array.dtype == jnp.uint32 and array.shape == (2,)):
                return jax.random.fold_in(array, turn + 1)
            if given is not None:
                return jnp.asarray(given, array.dtype)
            return array[np.arange(examples) % array.shape[0]] if array.ndim else array

        again, keywords = map_tensors((args, kwargs), _is_array_or_key, replace)
        outputs = [array for _, array in list_tensors(function(*again, **keywords), _is_array_or_key)]
        return next(array for array in outputs if is_floating(array))


def _is_array_or_key(value: object) -> bool:
    return isinstance(value, (jax.Array, np.ndarray))


def sample_flax(
    model: FlaxModel,
    params: dict[str, np.ndarray],
    state: dict[str, np.ndarray],
    inputs: list[np.ndarray],
    *,
    mode: str,
    seed: int,
    fed: dict[str, Fed],
) -> Samples:
    """Sample calls inside a run of the Flax model, of which only the samples are computed."""
    recorder = [_Sampler(fed)]

    def run(params: Any, state: Any, inputs: Any) -> dict[str, list[Any]]:
        recorder[0] = _Sampler(fed)
        recorder[0].outermost = trace_state() if model.inlined else None
        with inlined(model.inlined):
            model.run(params, state, inputs, mode=mode, seed=seed, interceptor=recorder[0])
        return recorder[0].sampled

    with precision("float32"):
        found = with_axes(model.axes, lambda: evaluated(run, params, state, inputs, axes=model.axes))
    epsilons = {key: float(jnp.finfo(arrays[0].dtype).eps) for key, arrays in found.items()}
    outputs = {key: np.stack([np.asarray(a, np.float32) for a in arrays]) for key, arrays in found.items()}
    missing = dict.fromkeys(fed.keys() - outputs.keys(), "it was not called again")
    return Samples(outputs, epsilons, {**missing, **recorder[0].failures})


def sample_torch(
    model: torch.nn.Module, inputs: list[np.ndarray], *, mode: str, seed: int, fed: dict[str, Fed]
) -> Samples:
    """Sample calls inside a run of a PyTorch model that the engine owns."""
    prepare(model, mode, "float32")
    found = Samples({}, {}, {})
    counts: dict[str, int] = {}
    sampling = [False]

    def sample(path: str, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        key = f"{path}#{counts.get(path, 0)}"
        if sampling[0]:
            return
        counts[path] = counts.get(path, 0) + 1
        if key not in fed:
            return
        sampling[0] = True
        try:
            turns = [_again(function, args, kwargs, fed[key]) for _ in range(CALLS)]
            found.outputs[key] = np.stack([numpy_of(tensor) for tensor in turns])
            found.epsilons[key] = torch.finfo(turns[0].dtype).eps
        except Exception as error:
            # As in Flax: whatever the user's code raises.
            found.failures[key] = _reason(error)
        finally:
            sampling[0] = False

    def hook_of(path: str) -> Callable[..., None]:
        return lambda module, args, kwargs, output: sample(path, module, args, kwargs)

    def on_function(path: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        sample(path, function, args, kwargs)
        return function(*args, **kwargs)

    handles = [m.register_forward_hook(hook_of(path), with_kwargs=True) for path, m in model.named_modules()]
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            with FunctionalDraws(model, on_function):
                model(*tensors_from(inputs, "float32"))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _again(module: Callable[..., Any], args: Any, kwargs: Any, fed: Fed) -> torch.Tensor:
    given = iter(fed)
    examples = next((array.shape[0] for array in fed if array is not None), 1)

    def is_tensor(value: object) -> bool:
        return isinstance(value, torch.Tensor)

    def replace(_: str, tensor: torch.Tensor) -> torch.Tensor:
        array = next(given, None)
        if array is not None:
            return torch.from_numpy(np.array(array)).to(tensor.dtype)
        return tensor[torch.arange(examples) % tensor.shape[0]] if tensor.ndim else tensor

    again, keywords = map_tensors((args, kwargs), is_tensor, replace)
    outputs = [tensor for _, tensor in list_tensors(module(*again, **keywords), is_tensor)]
    return next(tensor for tensor in outputs if tensor.is_floating_point())


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
