"""XLA's programs of single operations: compiled without expensive passes, in threads, once in a process."""

import collections
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import JaxprEqn, Literal

from parity.capture.numpy_contractions import CONTRACTIONS, products

# Each is run a few times on small arrays: what XLA's and LLVM's optimisers would gain is less than they cost.
_QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
# Products from which on a contraction is worth XLA's optimiser: it may become a loop and not a library's call.
_MUCH_WORK = 2**23
# Programs that are kept, the last used ones: some 20 KiB each.
_MOST = 4096

_kept: "collections.OrderedDict[Any, Any]" = collections.OrderedDict()
_lock = threading.Lock()


class Programs:
    """The programs of one evaluation: those of the process, and those that are being compiled for it."""

    def __init__(self) -> None:
        """Remember under which settings of JAX the evaluation runs, which are those of this thread."""
        self._x64 = bool(jax.config.jax_enable_x64)
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._coming: dict[Any, concurrent.futures.Future[Any]] = {}

    def prepared(self, equation: JaxprEqn) -> Callable[[list[Any]], list[Any]]:
        """Begin to compile an operation, unless its program is there.

        Returns:
            what computes it, a function of its inputs.
        """
        key = self._key(equation)
        coming = self._begun(key, equation)
        read = [i for i, atom in enumerate(equation.invars) if not isinstance(atom, Literal)]
        first = [i for i in read if equation.invars.index(equation.invars[i]) == i]

        def run(inputs: list[Any]) -> list[Any]:
            return _kept_from_now_on(key, coming)(*(inputs[i] for i in first))

        return run

    def _begun(self, key: Any, equation: JaxprEqn) -> "concurrent.futures.Future[Any]":
        with _lock:
            if key in _kept:
                _kept.move_to_end(key)
                return _there(_kept[key])
        if key in self._coming:
            return self._coming[key]
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1, "parity-compile")
        coming = self._pool.submit(self._compiled, equation)
        if key is not None:
            self._coming[key] = coming
        return coming

    def close(self) -> None:
        """Let the threads end."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _key(self, equation: JaxprEqn) -> Any:
        """What a program depends on; None where that cannot be compared."""
        inputs = tuple(
            (repr(a.val), str(a.aval)) if isinstance(a, Literal) else str(a.aval) for a in equation.invars
        )
        # The same variable twice is one argument.
        names = {a: i for i, a in enumerate(a for a in equation.invars if not isinstance(a, Literal))}
        places = tuple(names[a] for a in equation.invars if not isinstance(a, Literal))
        key = (
            equation.primitive,
            tuple((name, _hashable(equation.params[name])) for name in sorted(equation.params)),
            inputs,
            places,
            self._x64,
            jax.default_backend(),
        )
        try:
            hash(key)
        except TypeError:
            return None
        return key

    def _compiled(self, equation: JaxprEqn) -> Any:
        variables = list(dict.fromkeys(a for a in equation.invars if not isinstance(a, Literal)))

        def operation(*arrays: Any) -> list[Any]:
            given = dict(zip(variables, arrays, strict=True))
            inputs = [a.val if isinstance(a, Literal) else given[a] for a in equation.invars]
            found = equation.primitive.bind(*inputs, **equation.params)
            return list(found) if equation.primitive.multiple_results else [found]

        shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in variables]
        with self._settings():
            return jax.jit(operation).lower(*shapes).compile(compiler_options=_options(equation))

    @contextlib.contextmanager
    def _settings(self) -> Iterator[None]:
        """In whatever thread: as it was where the evaluation began, and nothing refused that was traced there."""
        with (
            jax.enable_x64(self._x64),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
        ):
            yield


def _there(program: Any) -> "concurrent.futures.Future[Any]":
    """A program that need not be waited for."""
    done: concurrent.futures.Future[Any] = concurrent.futures.Future()
    done.set_result(program)
    return done


def _kept_from_now_on(key: Any, coming: "concurrent.futures.Future[Any]") -> Any:
    """The program that comes."""
    program = coming.result()
    if key is not None:
        with _lock:
            _kept[key] = program
            while len(_kept) > _MOST:
                _kept.popitem(last=False)
    return program


def _hashable(value: Any) -> Any:
    """Parameters with tuples in the place of lists, which some operations have."""
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value


def _options(equation: JaxprEqn) -> dict[str, Any] | None:
    if jax.default_backend() != "cpu":
        return None
    if equation.primitive.name in CONTRACTIONS and products(equation) > _MUCH_WORK:
        return {"xla_llvm_disable_expensive_passes": True}
    return dict(_QUICK)
