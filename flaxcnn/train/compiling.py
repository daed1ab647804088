"""Compilation: once for each function of a run, counted, with the options that suit the platform."""

import functools
from collections.abc import Callable
from typing import Any

import jax

# XLA's YNNPACK fusions make convolutions on the CPU 1.6 to 3.3 times slower than without (issue 6 measures it).
_CPU_OPTIONS: dict[str, str] = {"xla_cpu_experimental_ynn_fusion_type": ""}


@functools.cache
def compiler_options(platform: str | None = None) -> dict[str, str]:
    """XLA options for `platform` (the default backend's if not given); empty where XLA knows none of them."""
    if (platform or jax.default_backend()) != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=_CPU_OPTIONS).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        # A jaxlib without this option: its default is what there is.
        return {}
    return _CPU_OPTIONS


class Compiled:
    """A jit-compiled function that counts how often it was traced, which is how often it was compiled.

    Args:
        function: a pure function of arrays.
        donate: positions of the arguments whose buffers it may reuse; the caller must not touch them again.
    """

    def __init__(self, function: Callable[..., Any], *, donate: tuple[int, ...] = ()) -> None:
        self.compilations = 0

        @functools.wraps(function)
        def counted(*arguments: Any) -> Any:
            self.compilations += 1
            return function(*arguments)

        self._jitted = jax.jit(counted, donate_argnums=donate, compiler_options=compiler_options())

    def __call__(self, *arguments: Any) -> Any:
        """Run the function, compiling it on its first call."""
        return self._jitted(*arguments)
