"""A program without its casts to float32 computes what the same program written without them computes in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import jaxpr_as_fun

from parity.capture.flax import precision
from parity.capture.widen import narrowed, narrowing_casts, widened
from parity.capture.written import as_written, is_told


def loop(x, cast):
    return lax.scan(lambda carry, row: (cast(carry) * 0.9 + row, cast(carry) * 0.3), cast(x[0]), cast(x))


def repeated(x, cast):
    return lax.while_loop(lambda c: c[1] < 3, lambda c: (cast(c[0]) / 3, c[1] + 1), (cast(x), 0))[0]


def either(x, cast):
    return lax.cond(x[0, 0] > 0, lambda y: cast(y) * 0.1, lambda y: cast(y) * 0.7, x)


def drawn(x, cast):
    return cast(x) * 0.1 + (jax.random.uniform(jax.random.key(0), x.shape, jnp.float32) > 0.5)


CASES = {
    "custom derivative": lambda x, cast: jax.nn.leaky_relu(cast(x), 0.01) * 0.1,
    "constant of a root": lambda x, cast: jax.nn.gelu(cast(x), approximate=False),
    "constant of pi": lambda x, cast: jax.nn.gelu(cast(x), approximate=True),
    "fraction": lambda x, cast: cast(x) * (1 / 3) + cast(x) * np.sqrt(2 / 7).item(),
    "variance": lambda x, cast: lax.rsqrt(jnp.var(cast(x), axis=0) + 1e-5),
    "softmax": lambda x, cast: jax.nn.softmax(cast(x)) * cast(jnp.asarray([0.5, 2.0, 4.0])),
    "scan": loop,
    "while": repeated,
    "cond": either,
    "remat": lambda x, cast: jax.checkpoint(lambda y: jnp.tanh(cast(y)) * 0.3)(x),
    "jit": lambda x, cast: jax.jit(lambda y: jnp.tanh(cast(y)) * 0.3)(x),
    "random bits": drawn,
}


# JAX differentiates no while loop.
@pytest.mark.parametrize(
    ("case", "differentiated"), [*((c, False) for c in CASES), *((c, True) for c in CASES if c != "while")]
)
def test_what_is_left_is_the_program_in_float64(case, differentiated):
    def of(cast):
        def value(x):
            return CASES[case](x, cast)

        def summed(x):
            return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(value(x))).astype(x.dtype)

        return jax.grad(summed) if differentiated else value

    with precision("float64"):
        x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3)))
        program = jax.make_jaxpr(of(lambda y: y.astype(jnp.float32)))(x)
        assert narrowed(program)
        assert narrowing_casts(program.jaxpr)
        wide = widened(program)
        found = jaxpr_as_fun(wide)(x)
        expected = jax.tree.leaves(of(lambda y: y)(x))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("number", [0.1, 1e-5, -0.9997, 3.0, 1 / 3, 5 / 7, 0.5**0.5, 0.7978845608028654, 6e4])
def test_a_constant_is_read_as_it_was_written(number):
    assert as_written(np.array([number, 0.0], np.float32)).tolist() == [number, 0.0]
    assert is_told(np.array(number, np.float32))


def test_what_is_read_lies_within_rounding():
    numbers = np.random.default_rng(0).uniform(0.1, 1, 200).astype(np.float32)
    assert np.array_equal(as_written(numbers).astype(np.float32), numbers)
    assert not is_told(numbers)
    assert as_written(np.array(np.inf, np.float32)) == np.inf
