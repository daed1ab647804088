"""A Linen model as pure functions of flat arrays, every module call of which can be intercepted."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from parity.capture.intercept import Interceptor, Module
from parity.capture.kinds import flax_kind
from parity.capture.modes import (
    Effects,
    Modes,
    boolean_arguments,
    effects_of,
    find_modes,
    given_modes,
    known_modes,
)
from parity.capture.owner import Owner
from parity.capture.source import source_of
from parity.capture.traced import Traces
from parity.capture.unpin import unpin

# The user's settings of the model, by name: in train and in eval mode.
Settings = tuple[dict[str, Any], dict[str, Any]]


def _fields(module: nn.Module) -> list[Any]:
    """The fields that the user gave it: not those of Flax itself, nor one that is not set."""
    own = [field for field in dataclasses.fields(module) if field.name not in ("parent", "name")]
    return [field for field in own if hasattr(module, field.name)]


def _flat(tree: Any) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep=".")


def flat_variables(variables: Any) -> dict[str, np.ndarray]:
    """The arrays of all collections by name."""
    return {name: np.asarray(a) for tree in variables.values() for name, a in _flat(dict(tree)).items()}


class LinenModel:
    """The adapter of `flax.linen.Module`, with its variables or initialised from an example input.

    All collections but "params" are state. A name is the path in its collection (`Conv_0.kernel`); two
    collections that use one name are refused by Linen itself.
    """

    framework = "linen"

    def __init__(
        self, model: nn.Module, variables: Any, inputs: list[Any], settings: Settings | None = None
    ) -> None:
        """Keep the model's variables as flat arrays; `variables=None` initialises them from `inputs`.

        `settings` are those that the user gave for train and for eval mode, if any.
        """
        self.model = model
        self.axes: list[str] = []
        self.inlined = False
        self.output: str | None = None
        self.parts: tuple[str, ...] = ()
        self.unpin, self.pins, self.casts = True, {}, []
        self.traces = Traces()
        call = type(model).__call__
        self.modes = known_modes(call)
        if settings is not None:
            self.modes = given_modes(call, *settings, lambda name: hasattr(model, name))
        elif not self.modes.arguments:
            defaults = boolean_arguments(call, len(inputs))
            self.modes = Modes({name: (value, value) for name, value in defaults.items()})
        if variables is None:
            variables = self.initialised(inputs)
        self.params = {k: np.asarray(v) for k, v in _flat(dict(variables.get("params", {}))).items()}
        self.collections: dict[str, str] = {}
        self.state: dict[str, np.ndarray] = {}
        for collection, tree in variables.items():
            if collection != "params":
                for name, value in _flat(dict(tree)).items():
                    self.collections[name] = collection
                    self.state[name] = np.asarray(value)
        self._class_names: dict[str, tuple[str, dict[str, int]]] = {}
        if settings is None:
            self.modes = find_modes(
                call, len(inputs), self._switches(), lambda trial: self._effects(trial, inputs)
            )

    def _switches(self) -> dict[str, bool]:
        """The boolean fields of the model itself."""
        names = [field.name for field in _fields(self.model)]
        return {name: value for name in names if isinstance(value := getattr(self.model, name), bool)}

    def _effects(self, trial: Modes, inputs: list[Any]) -> Effects | None:
        return effects_of(self, trial, inputs, "eval")

    def initialised(self, inputs: list[Any], number: int = 0) -> Any:
        """New variables of the model; another number gives others."""
        # A stream without a key of its own takes that of "params".
        keys = {name: jax.random.key(index + 2 * number) for index, name in enumerate(("params", "dropout"))}
        model = self._in("eval")
        return model.init(keys, *inputs, **self.modes.keywords("eval"))

    def _in(self, mode: str) -> nn.Module:
        """The model with the fields of a mode."""
        fields = self.modes.attributes(mode)
        return self.model.clone(**fields) if fields else self.model

    def owners(self) -> list[Owner]:
        """The modules that hold arrays of their own, in the order of their first call, after a first run."""
        both = {**self.params, **self.state}
        paths: dict[str, dict[str, tuple[int, ...]]] = {}
        for name, array in both.items():
            path, _, leaf = name.rpartition(".")
            paths.setdefault(path, {})[leaf] = array.shape
        found = []
        for path, leaves in paths.items():
            class_name, options = self._class_names.get(path, ("", {}))
            trainable = tuple(n for n in leaves if (f"{path}.{n}" if path else n) in self.params)
            found.append(Owner(path, flax_kind(class_name, leaves), class_name, leaves, trainable, options))
        return found

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
        variables: dict[str, Any] = {"params": traverse_util.unflatten_dict(params, sep=".")}
        for collection in set(self.collections.values()):
            part = {k: v for k, v in state.items() if self.collections[k] == collection}
            variables[collection] = traverse_util.unflatten_dict(part, sep=".")
        frozen = mode == "eval" and self.modes.frozen_in_eval
        mutable = [] if frozen else sorted(set(self.collections.values()))

        running: list[nn.Module] = []

        def intercept(
            next_function: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
        ) -> Any:
            if interceptor.pins is not None:
                fields = {
                    field.name: getattr(context.module, field.name) for field in _fields(context.module)
                }
                unpin(context.module, fields, ".".join(context.module.path), interceptor.pins)
            # `super().__call__` inside a call is a part of it.
            if context.method_name != "__call__" or (running and running[-1] is context.module):
                return next_function(*args, **kwargs)
            running.append(context.module)
            try:
                return interceptor.call(self._describe(context.module), next_function, args, kwargs)
            finally:
                running.pop()

        keys = jax.random.split(jax.random.key(seed), 2)
        # A stream of any other name takes the key of "params".
        streams = {"dropout": keys[0], "params": keys[1]}
        model = self._in(mode)
        with nn.intercept_methods(intercept):
            output, after = model.apply(
                variables, *inputs, **self.modes.keywords(mode), mutable=mutable, rngs=streams
            )
        changed = {name: v for tree in after.values() for name, v in _flat(dict(tree)).items()}
        return output, {name: changed.get(name, jnp.asarray(v)) for name, v in state.items()}

    def later(self) -> "LinenModel":
        """The model in a later call: it draws by the seed of that call."""
        return self

    def _describe(self, module: nn.Module) -> Module:
        path, name = ".".join(module.path), type(module).__name__
        transposed = int(bool(getattr(module, "transpose_kernel", False)))
        self._class_names[path] = (name, {"transpose_kernel": transposed})
        prefix = f"{path}." if path else ""
        leaves = {
            k[len(prefix) :]: v.shape
            for k, v in {**self.params, **self.state}.items()
            if k.startswith(prefix) and "." not in k[len(prefix) :]
        }
        return Module(
            path=path,
            kind=flax_kind(name, leaves),
            class_name=name,
            source=source_of(type(module)),
        )
