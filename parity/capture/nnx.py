"""An NNX model as pure functions of flat arrays, every module call of which can be intercepted."""

import contextlib
import copy
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from parity.capture.intercept import Interceptor, Module
from parity.capture.interception import intercepted
from parity.capture.kinds import flax_kind
from parity.capture.modes import (
    Modes,
    boolean_arguments,
    effects_of,
    find_modes,
    given_modes,
    known_modes,
    takes,
)
from parity.capture.owner import Owner
from parity.capture.shared import aliases, every_path
from parity.capture.source import source_of
from parity.capture.traced import Traces
from parity.capture.unpin import unpin


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in path)


# The user's settings of the model, by name: in train and in eval mode.
Settings = tuple[dict[str, Any], dict[str, Any]]


class NnxModel:
    """The adapter of `nnx.Module`. The user's model is read once and never written."""

    framework = "nnx"

    def __init__(
        self, model: nnx.Module, inputs: list[Any] | None = None, settings: Settings | None = None
    ) -> None:
        """Take the model apart into its structure, its parameters and its other arrays.

        Args:
            model: the user's.
            inputs: on which the settings that tell its mode are tried; only well-known names are used without.
            settings: those that the user gave for train and for eval mode, if any.
        """
        self.axes: list[str] = []
        self.inlined = False
        self.output: str | None = None
        self.parts: tuple[str, ...] = ()
        self.unpin, self.pins, self.casts = True, {}, []
        self.traces = Traces()
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self.graph, params, rest = nnx.split(model, nnx.Param, ...)
        self._params, self._rest = params, rest
        self.params = {_dotted(path): np.asarray(v[...]) for path, v in nnx.to_flat_state(params)}
        self.state = {
            _dotted(path): np.asarray(v[...]) for path, v in nnx.to_flat_state(rest) if _is_state(v)
        }
        self.modules = {_dotted(path): _describe(path, m, self._leaves(path)) for path, m in _walk(model)}

        call = type(model).__call__
        self.modes = known_modes(call)
        if settings is not None:
            self.modes = given_modes(call, *settings, lambda name: hasattr(model, name))
        elif inputs is not None and not self.modes.arguments and not self._told_by_train_and_eval(inputs):
            switches = {n: v for n, v in vars(model).items() if isinstance(v, bool)}
            self.modes = find_modes(
                call, len(inputs), switches, lambda trial: self._effects(trial, inputs, "eval")
            )

    def _told_by_train_and_eval(self, inputs: list[Any]) -> bool:
        """Whether `model.train()` and `model.eval()` suffice: nothing else can tell, or they make a difference."""
        model = nnx.merge(self.graph, self._params, self._rest)
        switches = [name for name, value in vars(model).items() if isinstance(value, bool)]
        if not switches and not boolean_arguments(type(model).__call__, len(inputs)):
            return True
        in_train, in_eval = (self._effects(Modes(), inputs, mode) for mode in ("train", "eval"))
        return in_train is not None and in_train != in_eval

    def _effects(self, trial: Modes, inputs: list[Any], mode: str) -> Any:
        return effects_of(self, trial, inputs, mode)

    def _leaves(self, path: tuple[Any, ...]) -> dict[str, tuple[int, ...]]:
        prefix = f"{_dotted(path)}." if path else ""
        both = {**self.params, **self.state}
        return {
            k[len(prefix) :]: v.shape
            for k, v in both.items()
            if k.startswith(prefix) and "." not in k[len(prefix) :]
        }

    def owners(self) -> list[Owner]:
        """The modules that hold arrays, in the order of their definition."""
        model = nnx.merge(self.graph, self._params, self._rest)
        paths = dict(every_path(model))
        others = aliases(paths, {**self.params, **self.state})
        found = []
        for path, module in _walk(model):
            own, name = self._leaves(path), _dotted(path)
            if own or name in others:
                found.append(self._owner(name, module, own, others.pop(name, {})))
        # What is left are the second paths of modules that are shared as a whole.
        return found + [self._owner(path, paths[path], {}, shared) for path, shared in others.items()]

    def _owner(
        self, path: str, module: nnx.Module, leaves: dict[str, tuple[int, ...]], shared: dict[str, str]
    ) -> Owner:
        arrays = {**self.params, **self.state}
        names = {name: f"{path}.{name}" if path else name for name in leaves} | shared
        trainable = tuple(name for name, full in names.items() if full in self.params)
        kind = flax_kind(type(module).__name__, {name: arrays[full].shape for name, full in names.items()})
        options = {"transpose_kernel": int(bool(getattr(module, "transpose_kernel", False)))}
        return Owner(path, kind, type(module).__name__, leaves, trainable, options, shared)

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
        """Call the model on arrays; return its output and the state after it."""
        model = nnx.merge(
            self.graph, _replaced(self._params, params), _replaced(self._rest, state), copy=True
        )
        # By the class: a field of the model may be called `train`, and hide the method.
        if mode == "train":
            type(model).train(model)
        else:
            type(model).eval(model)
        if interceptor.pins is not None:
            for path, module in _walk(model):
                unpin(module, dict(vars(module)), _dotted(path), interceptor.pins)
        for name, value in self.modes.attributes(mode).items():
            setattr(model, name, value)
        keywords: dict[str, Any] = self.modes.keywords(mode)
        if takes(type(model).__call__, "key"):
            keywords["key"] = jax.random.key(seed)
        if takes(type(model).__call__, "rngs"):
            keywords["rngs"] = nnx.Rngs(seed)
        with _intercepted(model, self.modules, interceptor, self._compiled):
            output = model(*inputs, **keywords)
        rest = nnx.to_flat_state(nnx.state(model, nnx.Not(nnx.Param)))
        return output, {_dotted(path): v[...] for path, v in rest if _is_state(v)}

    def later(self) -> "NnxModel":
        """The model in a later call: its streams have given a key more."""
        flat = [
            (path, leaf.replace(leaf[...] + 1) if isinstance(leaf, nnx.RngCount) else leaf)
            for path, leaf in nnx.to_flat_state(self._rest)
        ]
        other = copy.copy(self)
        other._rest = nnx.from_flat_state(flat)
        return other


def _is_state(variable: Any) -> bool:
    """A numeric variable that is neither a parameter nor the state of a random stream."""
    return not isinstance(variable, nnx.RngState) and not jnp.issubdtype(
        variable[...].dtype, jax.dtypes.prng_key
    )


def _replaced(state: nnx.State, values: dict[str, Any]) -> nnx.State:
    flat = [
        (path, _with_value(leaf, values.get(_dotted(path), leaf[...])))
        for path, leaf in nnx.to_flat_state(state)
    ]
    return nnx.from_flat_state(flat)


def _with_value(leaf: Any, value: Any) -> Any:
    # A leaf is an nnx.Variable, or a bare array that the user assigned to an attribute.
    return leaf.replace(value) if isinstance(leaf, nnx.Variable) else value


def _walk(model: nnx.Module) -> list[tuple[tuple[Any, ...], nnx.Module]]:
    """Every module with its path, outer before inner; a shared module keeps the first path that reaches it."""
    return [(path, m) for path, m in sorted(nnx.iter_modules(model), key=lambda item: len(item[0]))]


def _describe(path: tuple[Any, ...], module: nnx.Module, leaves: dict[str, tuple[int, ...]]) -> Module:
    name = type(module).__name__
    return Module(
        path=_dotted(path),
        kind=flax_kind(name, leaves),
        class_name=name,
        source=source_of(type(module)),
    )


def _intercepted(
    model: nnx.Module,
    described: dict[str, Module],
    interceptor: Interceptor,
    compiled: dict[Any, Callable[..., Any]],
) -> contextlib.AbstractContextManager[None]:
    """Route the calls of every module in the model through the interceptor, in this thread."""
    modules = {id(module): module for _, module in _walk(model)}
    descriptions = {id(module): described[_dotted(path)] for path, module in _walk(model)}

    def route(
        module: Any, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        call = functools.partial(original, module)
        if _is_leaf(module):
            call = functools.partial(_call_compiled, compiled, original, module)
        return interceptor.call(descriptions[id(module)], call, args, kwargs)

    return intercepted(modules, route)


def _is_leaf(module: nnx.Module) -> bool:
    return not any(path for path, _ in nnx.iter_modules(module))


def _call_compiled(
    compiled: dict[Any, Callable[..., Any]],
    original: Callable[..., Any],
    module: Any,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Call a leaf layer as one compiled function, shared by all layers of equal structure.

    A layer is a dozen operations, each of which would be compiled on its own; as one it compiles faster and,
    being a function of its arrays and its structure, once for all its equals. A layer whose structure or
    keywords cannot be compared for equality is called as it is.
    """
    graph, state = nnx.split(module)
    arrays = {name: value for name, value in kwargs.items() if isinstance(value, jax.Array)}
    fixed = tuple(sorted((name, value) for name, value in kwargs.items() if name not in arrays))
    try:
        function = compiled.get((original, graph, fixed))
    except TypeError:
        return original(module, *args, **kwargs)
    if function is None:

        def call(state: Any, args: Any, arrays: Any) -> Any:
            copy = nnx.merge(graph, state)
            output = original(copy, *args, **arrays, **dict(fixed))
            return output, nnx.state(copy, nnx.Not(nnx.Param))

        function = compiled[original, graph, fixed] = jax.jit(call)
    output, after = function(state, args, arrays)
    nnx.update(module, after)
    return output
