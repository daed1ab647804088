"""What NumPy computes in the place of XLA: bit for bit in float32 where it is called exact, to rounding in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from parity.capture import numpy_rules
from parity.capture.traced import evaluated

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((3, 4, 5)) * 3
Y = DRAW.standard_normal((3, 4, 5)) * 3
Y[0] = X[0]
POSITIVE = np.abs(X) + 0.1
WHOLE = DRAW.integers(-9, 9, (3, 4, 5))
WINDOW = (1, 2, 3), (1, 1, 2), ((0, 0), (1, 0), (1, 1))


def window(start, combine):
    return lambda x: lax.reduce_window(x, np.asarray(start, x.dtype), combine, *WINDOW)


# By the rule that is tested: a function that traces to it, and its arguments.
BOTH = {
    "add": (lax.add, X, Y),
    "add_any": (jax.grad(lambda x: jnp.sum(x * x[::-1])), X),
    "sub": (lax.sub, X, Y),
    "mul": (lax.mul, X, Y),
    "div": (lax.div, X, Y),
    "neg": (lax.neg, X),
    "abs": (lax.abs, X),
    "max": (lax.max, X, Y),
    "min": (lax.min, X, Y),
    "sqrt": (lax.sqrt, POSITIVE),
    "square": (lax.square, X),
    "integer_pow": (
        lambda x: [lax.integer_pow(x, n) for n in (-3, -2, -1, 2, 3, 4, 5, 7)],
        POSITIVE,
    ),
    "sign": (lambda x: lax.sign(jnp.concatenate([x, 0 * x])), X),
    "floor": (lax.floor, X),
    "ceil": (lax.ceil, X),
    "is_finite": (lambda x: lax.is_finite(x / (x > 0).astype(x.dtype)), X),
    "clamp": (lambda x: lax.clamp(jnp.asarray(-1, x.dtype), x, jnp.asarray(2, x.dtype)), X),
    "eq": (lax.eq, X, Y),
    "ne": (lax.ne, X, Y),
    "lt": (lax.lt, X, Y),
    "le": (lax.le, X, Y),
    "gt": (lax.gt, X, Y),
    "ge": (lax.ge, X, Y),
    "and": (lambda x: (x > 0) & (x < 1), X),
    "or": (lambda x: (x < 0) | (x > 1), X),
    "xor": (lambda x: (x < 0) ^ (x > -1), X),
    "not": (lambda x: ~(x < 0), X),
    "select_n": (
        lambda x, y: [
            lax.select_n(x > y, x, y),
            lax.select_n(x[0, 0, 0] > 0, x, y),
            lax.select_n(jnp.int32(2), x, y, -x),
        ],
        X,
        Y,
    ),
    "reshape": (lambda x: [lax.reshape(x, (6, 10)), lax.reshape(x, (6, 10), (2, 0, 1))], X),
    "squeeze": (lambda x: lax.squeeze(x[:1], (0,)), X),
    "broadcast_in_dim": (lambda x: lax.broadcast_in_dim(x[0], (4, 2, 5), (0, 2)), X),
    "transpose": (lambda x: lax.transpose(x, (2, 0, 1)), X),
    "rev": (lambda x: lax.rev(x, (0, 2)), X),
    "slice": (
        lambda x: [lax.slice(x, (0, 1, 0), (3, 4, 5), (1, 2, 3)), lax.slice(x, (1, 0, 2), (2, 3, 4))],
        X,
    ),
    "dynamic_slice": (lambda x: [lax.dynamic_slice(x, (i, i, -1), (2, 2, 2)) for i in (0, 1, 9)], X),
    "dynamic_update_slice": (lambda x: lax.dynamic_update_slice(x, x[:2, :2, :2], (9, 1, 0)), X),
    "pad": (
        lambda x: [
            lax.pad(x, jnp.asarray(7, x.dtype), config)
            for config in (
                ((0, 1, 2), (2, 0, 0), (1, 1, 1)),
                ((-1, 0, 0), (-1, -2, 0), (-3, 2, 1)),
                ((-2, -1, 1), (0, 0, 0), (-9, 12, 2)),
            )
        ],
        X,
    ),
    "concatenate": (lambda x, y: lax.concatenate([x, y[:, :2]], 1), X, Y),
    "iota": (lambda x: lax.broadcasted_iota(x.dtype, (3, 4, 2), 1), X),
    "convert_element_type": (lambda x: [(x > 0).astype(x.dtype), jnp.argmax(x, 0).astype(x.dtype)], X),
    "reduce_max": (lambda x: jnp.max(x, (0, 2)), X),
    "reduce_min": (lambda x: jnp.min(x, (0, 2)), X),
    "reduce_and": (lambda x: jnp.all(x > -2, 1), X),
    "reduce_or": (lambda x: jnp.any(x > 4, 1), X),
    "argmax": (lambda x: jnp.argmax(jnp.concatenate([x, x], 1), 1), X),
    "argmin": (lambda x: jnp.argmin(jnp.concatenate([x, x], 1), 1), X),
    "reduce_window_max": (window(-np.inf, lax.max), X),
    "reduce_window_min": (window(np.inf, lax.min), X),
    "copy": (lambda x: jnp.array(x, copy=True), X),
    "stop_gradient": (lax.stop_gradient, X),
    "name": (lambda x: checkpoint_name(x, "x"), X),
    "optimization_barrier": (lambda x, y: lax.optimization_barrier((x, y)), X, Y),
}
FLOAT64 = {
    "exp": (lax.exp, X),
    "exp2": (lax.exp2, X),
    "expm1": (lax.expm1, X),
    "log": (lax.log, POSITIVE),
    "log1p": (lax.log1p, POSITIVE),
    "sin": (lax.sin, X),
    "cos": (lax.cos, X),
    "tan": (lax.tan, X),
    "sinh": (lax.sinh, X),
    "cosh": (lax.cosh, X),
    "tanh": (lax.tanh, X),
    "atan2": (lax.atan2, X, Y),
    "cbrt": (lax.cbrt, X),
    "pow": (lax.pow, POSITIVE, Y),
    "rsqrt": (lax.rsqrt, POSITIVE),
    "round": (
        lambda x: [
            lax.round(jnp.round(x * 2) / 2, method)
            for method in (lax.RoundingMethod.TO_NEAREST_EVEN, lax.RoundingMethod.AWAY_FROM_ZERO)
        ],
        X,
    ),
    "logistic": (lax.logistic, X),
    "erf": (lax.erf, X),
    "erfc": (lax.erfc, X),
    "reduce_sum": (lambda x: jnp.sum(x, (0, 2)), X),
    "reduce_prod": (lambda x: jnp.prod(x, (0, 2)), X),
    "cumsum": (lambda x: [lax.cumsum(x, 1), lax.cumsum(x, 2, reverse=True)], X),
    "reduce_window_sum": (window(0, lax.add), X),
    "select_and_scatter_add": (
        lambda x: [
            jax.grad(
                lambda v, w=w, start=start, combine=combine: jnp.sum(
                    jnp.sin(lax.reduce_window(v, np.asarray(start, v.dtype), combine, *w))
                )
            )(jnp.round(x))
            for w in (WINDOW, ((1, 2, 2), (1, 2, 2), "VALID"), ((2, 3, 3), (1, 1, 1), "SAME"))
            for start, combine in ((-np.inf, lax.max), (np.inf, lax.min))
        ],
        X,
    ),
    "dot_general": (
        lambda x, y: [
            lax.dot_general(x, y, (((2,), (2,)), ((0,), (0,)))),
            lax.dot_general(x, y, (((0, 2), (0, 2)), ((), ()))),
            lax.dot_general(x, y, (((1,), (1,)), ((2, 0), (2, 0)))),
            lax.dot_general(x, jnp.zeros((5, 90), x.dtype) + y[0, 0][:, None], (((2,), (0,)), ((), ()))),
        ],
        X,
        Y,
    ),
    # The last test of this file has the rest.
    "conv_general_dilated": (lambda x, y: lax.conv(x[..., None], y[..., None], (1, 1), "VALID"), X, Y),
}


def compared(function, arguments, **tolerance):
    """What NumPy gives beside what XLA gives, and the operations of NumPy's part."""
    used = set()
    rules = {**numpy_rules.EXACT, **numpy_rules.FLOAT64}
    program = jax.make_jaxpr(function)(*arguments)

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                walk(inner)
            if numpy_rules.rule_of(equation) is rules.get(equation.primitive.name):
                used.add(equation.primitive.name)

    walk(program.jaxpr)
    expected, found = jax.jit(function)(*arguments), evaluated(function, *arguments)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        assert b.dtype == a.dtype
        np.testing.assert_allclose(b, np.asarray(a), **tolerance)
    return used


def test_every_rule_has_a_test():
    assert set(BOTH) == set(numpy_rules.EXACT)
    assert set(FLOAT64) == set(numpy_rules.FLOAT64)


@pytest.mark.parametrize("name", BOTH)
def test_an_exact_rule_gives_float32_bit_for_bit(name):
    function, *arguments = BOTH[name]
    used = compared(function, [jnp.asarray(x, jnp.float32) for x in arguments], rtol=0, atol=0)
    assert name in used or name == "copy"


@pytest.mark.parametrize(
    "name", sorted(numpy_rules.WHOLE_TOO & {"add", "sub", "mul", "neg", "abs", "max", "min"})
)
def test_an_exact_rule_gives_whole_numbers(name):
    function, *arguments = BOTH[name]
    compared(function, [jnp.asarray(WHOLE if x is X else WHOLE[::-1]) for x in arguments], rtol=0, atol=0)


@pytest.mark.parametrize("name", FLOAT64)
def test_a_rule_gives_float64_to_rounding(name, x64):
    function, *arguments = FLOAT64[name]
    assert name in compared(function, [jnp.asarray(x) for x in arguments], rtol=2e-14, atol=1e-14)


def test_the_gradient_of_max_pooling_is_exact_where_windows_do_not_overlap():
    def gradient(window, strides):
        def loss(x):
            return jnp.sum(jnp.sin(lax.reduce_window(x, -np.inf, lax.max, window, strides, "VALID")))

        return jax.grad(loss)

    x = [jnp.asarray(np.round(X), jnp.float32)]
    name = "select_and_scatter_add"
    sine = {"rtol": 1e-6, "atol": 1e-6}
    assert name in compared(gradient((1, 2, 2), (1, 2, 3)), x, **sine)
    assert name not in compared(gradient((1, 2, 2), (1, 1, 2)), x, **sine)


def test_a_division_of_whole_numbers_is_left_to_xla():
    compared(lambda x: lax.div(x, jnp.int32(2)), [jnp.asarray(WHOLE, jnp.int32)], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_dtype_that_numpy_lacks_is_left_to_xla(dtype):
    x = jnp.asarray(X, dtype)
    found = evaluated(lambda x: x + x * x, x)
    np.testing.assert_array_equal(found, np.asarray(x + x * x))


def geometries(count):
    draw = np.random.default_rng(5)
    for _ in range(count):
        groups = int(draw.choice([1, 2, 3]))
        channels, outputs = groups * int(draw.integers(1, 3)), groups * int(draw.integers(1, 3))
        two = {
            name: tuple(int(v) for v in draw.integers(low, high, 2))
            for name, low, high in (
                ("size", 4, 9),
                ("kernel", 1, 4),
                ("window_strides", 1, 3),
                ("rhs_dilation", 1, 3),
                ("lhs_dilation", 1, 3),
            )
        }
        padding = [tuple(int(v) for v in draw.integers(-1, 3, 2)) for _ in range(2)]
        yield groups, channels, outputs, two, padding


def test_convolutions_and_both_gradients_in_every_geometry(x64):
    """In one program of JAX, which is compiled once; a gradient is a convolution of yet other dimensions."""
    draw, functions, arguments = np.random.default_rng(6), [], []
    for groups, channels, outputs, two, padding in geometries(12):
        x = draw.standard_normal((2, *two.pop("size"), channels))
        kernel = draw.standard_normal((*two.pop("kernel"), channels // groups, outputs))
        options = {**two, "padding": padding, "feature_group_count": groups}

        def function(x, kernel, options=options):
            def convolve(x, kernel):
                return lax.conv_general_dilated(
                    x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
                )

            y, back = jax.vjp(convolve, x, kernel)
            return y, back(jnp.sin(y))

        functions.append(function)
        arguments.append((x, kernel))
    compared(
        lambda given: [f(*one) for f, one in zip(functions, given, strict=True)],
        [arguments],
        rtol=1e-11,
        atol=1e-11,
    )


@pytest.mark.parametrize("groups", [1, 4])
def test_a_convolution_and_its_gradients_are_those_of_torch(groups, x64):
    draw = np.random.default_rng(7)
    x, kernel = draw.standard_normal((2, 4, 9, 8)), draw.standard_normal((8, 4 // groups, 3, 2))
    options = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": groups}
    a, b = (torch.tensor(v, requires_grad=True) for v in (x, kernel))
    y = torch.nn.functional.conv2d(a, b, **options)
    y.sin().sum().backward()

    def loss(x, kernel):
        y = lax.conv_general_dilated(
            x, kernel, (2, 1), [(1, 1), (2, 2)], rhs_dilation=(1, 2), feature_group_count=groups
        )
        return jnp.sum(jnp.sin(y)), y

    gradients, found = evaluated(jax.grad(loss, (0, 1), has_aux=True), x, kernel)
    np.testing.assert_allclose(found, y.detach().numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradients[0], a.grad.numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradients[1], b.grad.numpy(), rtol=1e-12, atol=1e-12)
