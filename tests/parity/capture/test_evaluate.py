"""Walking through a traced program: the same numbers as JAX gives, each program compiled once, faults told apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from parity.capture import evaluate, numpy_rules, programs
from parity.capture.traced import evaluated

X = np.linspace(-2.0, 3.0, 12).reshape(3, 4)


@jax.custom_jvp
def doubled(x):
    return 2 * x


doubled.defjvp(lambda primals, tangents: (doubled(*primals), 2 * tangents[0]))


def chosen(x):
    return lax.cond(jnp.sum(x) > 0, lambda y: y * 2, lambda y: y - 1, x)


CONTROL = {
    "jit": lambda x: jax.jit(jnp.sin)(x) + jax.jit(lambda y: y * y)(x),
    "custom derivative": doubled,
    "remat": jax.checkpoint(lambda x: jnp.exp(jnp.sin(x))),
    "while": lambda x: lax.while_loop(lambda y: jnp.max(y) < 10, lambda y: y * 2 + 1, x),
    "cond, first branch": lambda x: chosen(-jnp.abs(x)),
    "cond, second branch": lambda x: chosen(jnp.abs(x)),
    "scan": lambda x: lax.scan(lambda c, row: (c + row, c * row), jnp.zeros(4, x.dtype), x),
    "scan in reverse": lambda x: lax.scan(lambda c, r: (c + r, c * r), x[0], x, reverse=True),
    "a long loop": lambda x: lax.fori_loop(0, 200, lambda i, y: y * 0.99, x),
    "a long scan": lambda x: lax.scan(lambda c, _: (c * 0.9, c[0, 0]), x, length=100),
    "random": lambda x: jax.random.normal(jax.random.key(3), x.shape, x.dtype) * x,
    "sort and several results": lambda x: lax.top_k(x, 2),
    "an argument that nothing reads": lambda x: jnp.zeros(3, x.dtype),
    "an argument given twice": lambda x: lax.dot_general(x, x, (((1,), (1,)), ((), ()))),
    "the argument itself": lambda x: (x, x),
    "integers": lambda x: (x.astype(jnp.int32) // 2, jnp.argmax(x, 1), x > 0),
}


@pytest.mark.parametrize("function", CONTROL.values(), ids=CONTROL)
def test_a_function_gives_what_jax_gives(function, x64):
    expected, found = function(jnp.asarray(X)), evaluated(function, X)
    assert jax.tree.structure(expected) == jax.tree.structure(found)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        assert isinstance(b, np.ndarray)
        assert b.dtype == a.dtype
        np.testing.assert_allclose(b, np.asarray(a), rtol=1e-14, atol=1e-14)


def test_a_gradient_is_that_of_jax(x64):
    def loss(x):
        y = jax.nn.gelu(doubled(x)) + jax.nn.log_softmax(x) * jnp.var(x)
        return jnp.sum(jax.checkpoint(jnp.tanh)(y))

    np.testing.assert_allclose(evaluated(jax.grad(loss), X), jax.grad(loss)(jnp.asarray(X)), rtol=1e-13)


def test_python_that_asks_for_values_is_run_as_it_is():
    def branches(x):
        return x * 2 if x.sum() > 0 else x

    found = evaluated(branches, jnp.asarray(X, jnp.float32))
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, np.asarray(X, np.float32) * 2)


def test_a_program_is_compiled_once_in_a_process_whoever_asks(monkeypatch):
    names = []
    original = programs.Programs._compiled

    def counted(self, equation):
        names.append(equation.primitive.name)
        return original(self, equation)

    monkeypatch.setattr(programs.Programs, "_compiled", counted)
    monkeypatch.setattr(programs, "_kept", type(programs._kept)())

    def function(x):
        return jnp.exp(x) + jnp.exp(x * 2) + jnp.exp(x[:2])[0, 0]

    x = jnp.asarray(X, jnp.float32)
    evaluated(function, x)
    assert sorted(names) == ["exp", "exp"]  # one for each shape
    evaluated(lambda x: jnp.exp(-x), x)
    assert len(names) == 2


def test_programs_that_were_not_used_for_long_are_dropped(monkeypatch):
    monkeypatch.setattr(programs, "_kept", type(programs._kept)())
    monkeypatch.setattr(programs, "_MOST", 2)
    x = jnp.asarray(X, jnp.float32)
    for rows in (1, 2, 3):
        np.testing.assert_allclose(evaluated(jnp.exp, x[:rows]), np.exp(X[:rows]), rtol=1e-5)
    assert len(programs._kept) == 2


def test_nothing_of_jax_is_changed_by_an_evaluation():
    before = dict(jax.config.values)
    evaluated(jax.grad(lambda x: jnp.sum(jnp.exp(x))), jnp.asarray(X, jnp.float32))
    assert dict(jax.config.values) == before


def test_what_nothing_reads_is_not_computed(monkeypatch):
    monkeypatch.setattr(evaluate, "_by_rule", lambda *arguments: pytest.fail("computed"))
    found = evaluated(lambda x: (x + 1, x)[1], jnp.asarray(X, jnp.float32))
    np.testing.assert_array_equal(found, np.asarray(X, np.float32))


def test_a_wrong_rule_is_no_fault_of_the_model(monkeypatch):
    monkeypatch.setitem(numpy_rules.EXACT, "add", lambda equation, a, b: (a + b)[:1])
    with pytest.raises(RuntimeError, match=r"The NumPy rule of add gives float32\[1, 4\]; the trace says"):
        evaluated(lambda x: x + x, jnp.asarray(X, jnp.float32))
