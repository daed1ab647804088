"""Programs that compile quickly: the same numbers from other machine code, and off where a test asks for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src import compiler


def asked():
    """The options that JAX passes to XLA for its next program."""
    return dict(compiler.get_compile_options(1, 1).env_option_overrides)


def test_options_that_this_jaxlib_has_are_passed(pytestconfig):
    expected = set() if pytestconfig.option.tier == "exhaustive" else {"xla_backend_optimization_level"}
    assert asked().keys() >= expected
    assert bool(asked()) == bool(expected)


@pytest.mark.optimised
def test_a_test_of_compiled_programs_has_none_of_them():
    assert asked() == {}


def test_what_a_program_asks_for_itself_counts(pytestconfig):
    given = compiler.get_compile_options(1, 1, env_options_overrides={"xla_backend_optimization_level": 2})
    assert dict(given.env_option_overrides)["xla_backend_optimization_level"] == 2


def test_an_unknown_option_is_left_out(monkeypatch):
    import quick_programs

    monkeypatch.setattr(quick_programs, "OPTIONS", {"xla_of_another_version": True})
    assert quick_programs.known() == {}


def test_the_numbers_are_the_same_to_rounding():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(7, 5)), jnp.float32)
    found = jax.jit(lambda x: jnp.tanh(x @ x.T) + jnp.exp(-x).sum())(x)
    wide = np.asarray(x, np.float64)
    np.testing.assert_allclose(found, np.tanh(wide @ wide.T) + np.exp(-wide).sum(), rtol=1e-5)
