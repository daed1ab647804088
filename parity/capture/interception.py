"""Calls of NNX modules, routed to whoever intercepts them in this thread.

Flax has no interceptor of NNX calls as it has of Linen's, so `__call__` of the classes is replaced while a model runs.
A class belongs to the whole process: it is replaced when the first interception begins and restored when the last one
ends, under a lock. The replacement asks the interceptions of its own thread (and of the context it was started in),
the innermost first; a call that none of them knows is the original's.
"""

import contextlib
import contextvars
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

# Given a module, its original `__call__`, and the arguments: the result of the call.
Route = Callable[[Any, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


class _Interception:
    """The modules of one running model, by identity, and who takes their calls."""

    def __init__(self, modules: Mapping[int, Any], route: Route) -> None:
        self.modules, self.route = modules, route
        self.running: list[int] = []

    def takes(self, module: Any) -> bool:
        """Whether it is one of these modules, and this call not `super().__call__` inside its own call."""
        return id(module) in self.modules and not (self.running and self.running[-1] == id(module))

    def call(
        self, module: Any, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self.running.append(id(module))
        try:
            return self.route(module, original, args, kwargs)
        finally:
            self.running.pop()


_lock = threading.Lock()
# By class: its own `__call__`, and how many interceptions need it replaced.
_replaced: dict[type, tuple[Callable[..., Any], int]] = {}
_active: contextvars.ContextVar[tuple[_Interception, ...]] = contextvars.ContextVar("active", default=())


@contextlib.contextmanager
def intercepted(modules: Mapping[int, Any], route: Route) -> Iterator[None]:
    """Send the calls of modules to `route` while this runs, in this thread only.

    Args:
        modules: by `id`; the caller keeps them alive.
        route: is given the module, its class's own `__call__`, positional and keyword arguments.
    """
    classes = {type(module) for module in modules.values()}
    # Only the class that defines `__call__` is changed, so that inheritance keeps working.
    definers = {next((c for c in kind.__mro__ if "__call__" in vars(c)), None) for kind in classes} - {None}
    _replace(definers)
    token = _active.set((_Interception(modules, route), *_active.get()))
    try:
        yield
    finally:
        _active.reset(token)
        _restore(definers)


def _replace(definers: set[Any]) -> None:
    with _lock:
        for definer in definers:
            original, users = _replaced.get(definer, (vars(definer)["__call__"], 0))
            if users == 0:
                definer.__call__ = _routing(original)
            _replaced[definer] = (original, users + 1)


def _restore(definers: set[Any]) -> None:
    with _lock:
        for definer in definers:
            original, users = _replaced.pop(definer)
            if users > 1:
                _replaced[definer] = (original, users - 1)
            else:
                definer.__call__ = original


def _routing(original: Callable[..., Any]) -> Callable[..., Any]:
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        for interception in _active.get():
            if interception.takes(self):
                return interception.call(self, original, args, kwargs)
        return original(self, *args, **kwargs)

    return functools.wraps(original)(__call__)
