"""What every test runs under: strict promotion, shapes checked at call time, several CPU devices."""

import os
import pathlib
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

sys.path.insert(0, str(pathlib.Path(__file__).parent))
pytest_plugins = ["pytester", "durations", "tiers"]

from jaxtyping import install_import_hook

# Before the packages are imported: every annotated function checks its shapes and dtypes when called.
install_import_hook(["flaxcnn", "parity"], "beartype.beartype")

import hypothesis
import jax
import pytest
from quick_programs import QuickPrograms

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Compiled programs are kept between runs of the suite; each worker has its own, since nothing locks them.
worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
jax.config.update(
    "jax_compilation_cache_dir",
    str(pathlib.Path(__file__).parent.parent / ".pytest_cache" / "programs" / worker),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)

# One profile: reproducible, and no deadline, since the first call of each shape compiles.
hypothesis.settings.register_profile("project", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("project")

quick_programs = QuickPrograms()


def pytest_configure(config):
    """`make exhaustive` compiles as users do; what runs more often compiles quickly."""
    if config.option.tier != "exhaustive":
        quick_programs.start()


@pytest.fixture(autouse=True)
def _optimised(request):
    """Compile as users do in tests that are marked `optimised`."""
    if request.node.get_closest_marker("optimised"):
        with quick_programs.off():
            yield
    else:
        yield


@pytest.fixture
def x64():
    """Run a test in float64."""
    with jax.enable_x64(True):
        yield
