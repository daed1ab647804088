"""A Linen model as pure functions of flat arrays, every module call of which can be intercepted."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from parity.capture.calling import mode_arguments
from parity.capture.intercept import Interceptor, Module
from parity.capture.kinds import flax_kind
from parity.capture.owner import Owner
from parity.capture.source import source_of


def _flat(tree: Any) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep=".")


class LinenModel:
    """The adapter of `flax.linen.Module`, with its variables or initialised from an example input.

    All collections but "params" are state. A name is the path in its collection (`Conv_0.kernel`); two
    collections that use one name are refused by Linen itself.
    """

    framework = "linen"

    def __init__(self, model: nn.Module, variables: Any, inputs: list[Any]) -> None:
        """Keep the model's variables as flat arrays; `variables=None` initialises them from `inputs`."""
        self.model = model
        if variables is None:
            variables = self._initialised(inputs)
        self.params = {k: np.asarray(v) for k, v in _flat(dict(variables.get("params", {}))).items()}
        self.collections: dict[str, str] = {}
        self.state: dict[str, np.ndarray] = {}
        for collection, tree in variables.items():
            if collection != "params":
                for name, value in _flat(dict(tree)).items():
                    self.collections[name] = collection
                    self.state[name] = np.asarray(value)
        self._class_names: dict[str, tuple[str, dict[str, int]]] = {}

    def _initialised(self, inputs: list[Any]) -> Any:
        keywords = mode_arguments(type(self.model).__call__, "eval")
        keys = {name: jax.random.key(index) for index, name in enumerate(("params", "dropout"))}
        return self.model.init(keys, *inputs, **keywords)

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
        mutable = sorted(set(self.collections.values()))

        def intercept(
            next_function: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
        ) -> Any:
            if context.method_name != "__call__":
                return next_function(*args, **kwargs)
            return interceptor.call(self._describe(context.module), next_function, args, kwargs)

        keywords = mode_arguments(type(self.model).__call__, mode)
        with nn.intercept_methods(intercept):
            output, after = self.model.apply(
                variables, *inputs, **keywords, mutable=mutable, rngs={"dropout": jax.random.key(seed)}
            )
        changed = {name: v for tree in after.values() for name, v in _flat(dict(tree)).items()}
        return output, {name: changed.get(name, jnp.asarray(v)) for name, v in state.items()}

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
        rate = getattr(module, "rate", None)
        return Module(
            path=path,
            kind=flax_kind(name, leaves),
            class_name=name,
            source=source_of(type(module)),
            rate=float(rate) if isinstance(rate, (int, float)) else None,
        )
