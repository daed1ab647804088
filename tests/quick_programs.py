"""Programs that compile quickly and run slowly: most of this suite's time is XLA compiling what runs once.

LLVM's optimisations and XLA's own code generator for fusions are switched off: the same operations, in
plainer machine code. Tests of compiled programs themselves are marked `optimised` and compile as users do; so
does everything in `make exhaustive`.
"""

import contextlib

import jax
from jax._src import compiler

OPTIONS = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,
    "xla_cpu_use_fusion_emitters": False,
}


def known():
    """Give the options that this jaxlib has: they come and go with its versions, and one too many is an error."""
    found = {}
    for name, value in OPTIONS.items():
        with contextlib.suppress(Exception):
            jax.jit(lambda: None, compiler_options={name: value})()
            found[name] = value
    return found


class QuickPrograms:
    """Wraps JAX's choice of compile options, of which jit's own are the only ones that a program can set."""

    def __init__(self):
        self.options = []
        self.original = compiler.get_compile_options

    def start(self):
        """From here on; what a test asks for itself comes last and counts."""
        self.options = list(known().items())
        compiler.get_compile_options = self.compile_options

    def compile_options(self, *arguments, **options):
        """What JAX chose, after the options for quick programs."""
        chosen = self.original(*arguments, **options)
        chosen.env_option_overrides = [*self.options, *chosen.env_option_overrides]
        return chosen

    @contextlib.contextmanager
    def off(self):
        """Compile as users do; nothing compiled before is taken for it, nor the reverse."""
        options, self.options = self.options, []
        jax.clear_caches()
        try:
            yield
        finally:
            self.options = options
            jax.clear_caches()
