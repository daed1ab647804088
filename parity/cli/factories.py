"""MODULE:CALLABLE to a model: imported from the current folder, called, and refused in one sentence."""

import contextlib
import difflib
import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from parity.cli.exceptions import described
from parity.errors import CannotCompare

# What a Python module raises when it leaves the process is no reason to leave this one.
_FAILURES = (Exception, SystemExit)


def build_torch(text: str, seed: int) -> Any:
    """The `nn.Module` that the factory returns; random weights are those of `seed`, in every run the same.

    Raises:
        CannotCompare: it cannot be found or raises, or returns something else.
    """
    import torch

    factory = find_factory(text, "--torch")
    # Importing may draw random numbers too, so not before.
    torch.manual_seed(seed)
    model = _call(factory, text, "--torch")
    if not isinstance(model, torch.nn.Module):
        raise CannotCompare(
            f"--torch {text} returns a {_kind(model)}; expected a torch.nn.Module: return the model itself."
        )
    return model


def build_flax(text: str) -> Any:
    """The NNX or Linen module, or `(linen_module, variables)`, that the factory returns.

    Raises:
        CannotCompare: it cannot be found or raises, or returns something else.
    """
    from flax import linen, nnx

    factory = find_factory(text, "--flax")
    with _quickly_compiled():
        model = _call(factory, text, "--flax")
    module = model[0] if isinstance(model, tuple) and len(model) == 2 else model
    if not isinstance(module, linen.Module) and not isinstance(model, nnx.Module):
        raise CannotCompare(
            f"--flax {text} returns a {_kind(model)}; expected an nnx.Module, a Linen module or "
            "(linen_module, variables): return the model itself."
        )
    return model


@contextlib.contextmanager
def _quickly_compiled() -> Iterator[None]:
    """Programs that initialise a model run once: compiling them well takes longer than all that follows.

    This process is the command's own, so that its setting may be changed for a while.
    """
    import jax

    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def find_factory(text: str, flag: str) -> Callable[[], Any]:
    """Import a factory.

    Raises:
        CannotCompare: it is not written MODULE:CALLABLE, cannot be imported, or needs arguments.
    """
    factory = find_callable(text, flag)
    _check_signature(factory, text, flag)
    return factory


def find_callable(text: str, flag: str) -> Callable[..., Any]:
    """Import a callable, which may need arguments.

    Raises:
        CannotCompare: it is not written MODULE:CALLABLE, or cannot be imported.
    """
    name, separator, attribute = text.partition(":")
    if not separator or not name or not attribute:
        raise CannotCompare(
            f"{flag} {text} is not MODULE:CALLABLE; write, for example, torchvision.models:resnet18."
        )
    return _find(_import(name, flag), name, attribute, flag)


def _call(factory: Callable[[], Any], text: str, flag: str) -> Any:
    try:
        return factory()
    except _FAILURES as error:
        where = described(error, _file_of(factory))
        raise CannotCompare(f"{flag} {text} raises {where}: call it in Python to see more.") from error


def _import(name: str, flag: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing and (name == missing or name.startswith(f"{missing}.")):
            raise CannotCompare(
                f"{flag}: there is no module {name} in {here} or installed{_near(missing, _modules(missing))}."
            ) from None
        raise CannotCompare(
            f"{flag}: the module {name} imports {missing}, which is not installed: install it."
        ) from error
    except _FAILURES as error:
        raise CannotCompare(f"{flag}: importing {name} raises {described(error)}.") from error


def _modules(missing: str) -> list[str]:
    """The names of modules beside the one that is missing."""
    parent = missing.rpartition(".")[0]
    path = None
    if parent:
        with contextlib.suppress(ImportError):
            path = getattr(importlib.import_module(parent), "__path__", None)
        if path is None:
            return []
    prefix = f"{parent}." if parent else ""
    return [prefix + module.name for module in pkgutil.iter_modules(path)]


def _near(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"; the nearest are {', '.join(near)}" if near else ""


def _find(module: ModuleType, name: str, attribute: str, flag: str) -> Callable[..., Any]:
    found: Any = module
    for part in attribute.split("."):
        parent = found
        found = getattr(found, part, None)
        if found is None:
            callables = [
                n for n in dir(parent) if not n.startswith("_") and callable(getattr(parent, n, None))
            ]
            near = _near(part, callables)
            raise CannotCompare(f"{flag}: the module {name} has no callable {attribute}{near}.")
    if not callable(found):
        raise CannotCompare(
            f"{flag} {name}:{attribute} is a {_kind(found)}, not a callable: give a function that returns the model."
        )
    if isinstance(found, type) or not _is_module(found):
        return found
    raise CannotCompare(
        f"{flag} {name}:{attribute} is a model already, not a callable that makes one: give a function that returns it."
    )


def _is_module(value: Any) -> bool:
    """Whether a callable object is a model rather than a factory, without loading a framework for it."""
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(value).__mro__}
    return bool(
        names & {"torch.nn.modules.module.Module", "flax.nnx.module.Module", "flax.linen.module.Module"}
    )


def _check_signature(factory: Callable[..., Any], text: str, flag: str) -> None:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return  # a callable without a signature: calling it will tell
    required = [
        p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if required:
        noun = "argument" if len(required) == 1 else "arguments"
        raise CannotCompare(
            f"{flag} {text} needs the {noun} {', '.join(required)}: give a function without required arguments, "
            "which passes them."
        )


def _file_of(factory: Callable[..., Any]) -> str | None:
    with contextlib.suppress(TypeError, OSError):
        return inspect.getsourcefile(inspect.unwrap(factory))
    return None


def _kind(value: Any) -> str:
    if isinstance(value, type):
        return f"class ({value.__name__})"
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
