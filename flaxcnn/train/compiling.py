"""Compilation: once for each function of a run, counted, with the options that suit the platform."""

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
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


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that a second run starts at once.

    The command calls it; a program that imports the library decides for itself. `JAX_COMPILATION_CACHE_DIR` names
    another folder, and `JAX_ENABLE_COMPILATION_CACHE=false` turns it off.
    """
    if jax.config.jax_compilation_cache_dir is None:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(Path(home) / "flaxcnn" / "programs"))
        # A limit makes JAX lock the folder: without it a process can read what another has half written.
        jax.config.update("jax_compilation_cache_max_size", 4 * 2**30)
    # The many small programs of an initialisation take 0.1 s each and minutes in all.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)


class Compiled:
    """A jit-compiled function that counts how often it was traced, which is how often it was compiled.

    `compilations` is that number, `compile_seconds` the time it took.

    Args:
        function: a pure function of arrays.
        donate: positions of the arguments whose buffers it may reuse; the caller must not touch them again.
    """

    def __init__(self, function: Callable[..., Any], *, donate: tuple[int, ...] = ()) -> None:
        self.compilations = 0
        self.compile_seconds = 0.0

        @functools.wraps(function)
        def counted(*arguments: Any) -> Any:
            self.compilations += 1
            return function(*arguments)

        self._jitted = jax.jit(counted, donate_argnums=donate, compiler_options=compiler_options())

    def __call__(self, *arguments: Any) -> Any:
        """Run the function, compiling it on its first call."""
        before, start = self.compilations, time.perf_counter()
        result = self._jitted(*arguments)
        if self.compilations > before:
            # Tracing and compiling hold the call up; the run itself is dispatched and returns at once.
            self.compile_seconds += time.perf_counter() - start
        return result
