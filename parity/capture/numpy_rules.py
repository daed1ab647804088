"""Operations of JAX that NumPy computes, by name: those that are exact, and in float64 those of a plain meaning.

A rule is `(equation, *arrays) -> array`; shapes and dtypes of the result are the trace's. What has no rule here, or
has a dtype that NumPy lacks, is left to XLA.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from parity.capture import numpy_contractions as contractions

Rule = Callable[..., Any]
_FLOATS = ("float32", "float64")
_WHOLE = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def rule_of(equation: JaxprEqn) -> Rule | None:
    """The rule that computes an operation; None if XLA has to."""
    name = equation.primitive.name
    rule = EXACT.get(name) or FLOAT64.get(name)
    if rule is None:
        return None
    dtypes = [str(getattr(atom.aval, "dtype", "")) for atom in (*equation.invars, *equation.outvars)]
    if not all(dtype in _FLOATS or dtype in _WHOLE for dtype in dtypes):
        return None
    floats = {dtype for dtype in dtypes if dtype in _FLOATS}
    if name in EXACT:
        return rule if name in WHOLE_TOO or floats else None
    exact = name == "select_and_scatter_add" and not contractions.windows_overlap(equation)
    return rule if (exact or floats == {"float64"}) and contractions.is_within_reach(equation) else None


def _shape(equation: JaxprEqn) -> tuple[int, ...]:
    return equation.outvars[0].aval.shape


def _dtype(equation: JaxprEqn) -> np.dtype:
    return np.dtype(equation.outvars[0].aval.dtype)


def _plain(function: Callable[..., Any]) -> Rule:
    """A rule of a function that needs the arrays alone."""

    def rule(equation: JaxprEqn, *arrays: np.ndarray) -> Any:
        return function(*arrays)

    return rule


def _reshape(equation: JaxprEqn, x: np.ndarray) -> Any:
    # Transposed first where an order is given.
    order = equation.params.get("dimensions") if equation.primitive.name == "reshape" else None
    return np.reshape(x if order is None else np.transpose(x, order), _shape(equation))


def _broadcast(equation: JaxprEqn, x: np.ndarray) -> Any:
    shape = [1] * len(_shape(equation))
    for axis, length in zip(equation.params["broadcast_dimensions"], x.shape, strict=True):
        shape[axis] = length
    return np.broadcast_to(np.reshape(x, shape), _shape(equation))


def _select(equation: JaxprEqn, which: np.ndarray, *cases: np.ndarray) -> Any:
    if which.dtype == bool:
        return np.where(which, cases[-1], cases[0])
    return np.choose(which, cases)


def _clamp(equation: JaxprEqn, low: np.ndarray, x: np.ndarray, high: np.ndarray) -> Any:
    return np.minimum(np.maximum(x, low), high)


def _slice(equation: JaxprEqn, x: np.ndarray) -> Any:
    options = equation.params
    strides = options["strides"] or (1,) * x.ndim
    ranges = zip(options["start_indices"], options["limit_indices"], strides, strict=True)
    return x[tuple(slice(*one) for one in ranges)]


def _dynamic_slice(equation: JaxprEqn, x: np.ndarray, *starts: np.ndarray) -> Any:
    sizes = equation.params["slice_sizes"]
    # A start that would lead beyond the end is moved back, as XLA does.
    begin = [
        int(np.clip(start, 0, length - size))
        for start, length, size in zip(starts, x.shape, sizes, strict=True)
    ]
    return x[tuple(slice(at, at + size) for at, size in zip(begin, sizes, strict=True))]


def _dynamic_update_slice(equation: JaxprEqn, x: np.ndarray, update: np.ndarray, *starts: np.ndarray) -> Any:
    result = np.array(x)
    begin = [
        int(np.clip(start, 0, length - size))
        for start, length, size in zip(starts, x.shape, update.shape, strict=True)
    ]
    result[tuple(slice(at, at + size) for at, size in zip(begin, update.shape, strict=True))] = update
    return result


def _pad(equation: JaxprEqn, x: np.ndarray, value: np.ndarray) -> Any:
    # JAX itself hands on NumPy's integers.
    config = [tuple(map(int, one)) for one in equation.params["padding_config"]]
    return contractions.padded(x, config, value)


def _iota(equation: JaxprEqn) -> Any:
    shape, axis = _shape(equation), equation.params["dimension"]
    along = [1] * len(shape)
    along[axis] = shape[axis]
    return np.broadcast_to(np.arange(shape[axis]).astype(_dtype(equation)).reshape(along), shape)


def _convert(equation: JaxprEqn, x: np.ndarray) -> Any:
    return x.astype(_dtype(equation))


def _reduce(function: Callable[..., Any]) -> Rule:
    def rule(equation: JaxprEqn, x: np.ndarray) -> Any:
        return np.asarray(function(x, axis=tuple(equation.params["axes"])), _dtype(equation))

    return rule


def _arg(function: Callable[..., Any]) -> Rule:
    def rule(equation: JaxprEqn, x: np.ndarray) -> Any:
        return function(x, axis=equation.params["axes"][0]).astype(_dtype(equation))

    return rule


def _integer_power(equation: JaxprEqn, x: np.ndarray) -> Any:
    """By squaring, in the order in which JAX multiplies, so that it rounds alike."""
    exponent = abs(equation.params["y"])
    result, square = None, x
    while exponent:
        if exponent & 1:
            result = square if result is None else result * square
        exponent >>= 1
        square = square * square if exponent else square
    result = np.ones_like(x) if result is None else result
    return result if equation.params["y"] >= 0 else 1 / result


def _round(equation: JaxprEqn, x: np.ndarray) -> Any:
    if int(equation.params["rounding_method"]) == 1:
        return np.rint(x)
    return np.copysign(np.floor(np.abs(x) + 0.5), x)


def _special(name: str) -> Rule:
    def rule(equation: JaxprEqn, *arrays: np.ndarray) -> Any:
        # Loaded where it is needed, which in most models it is not.
        import scipy.special

        return getattr(scipy.special, name)(*arrays)

    return rule


def _cumulative(function: Callable[..., Any]) -> Rule:
    def rule(equation: JaxprEqn, x: np.ndarray) -> Any:
        axis = equation.params["axis"]
        if equation.params["reverse"]:
            return np.flip(function(np.flip(x, axis), axis=axis), axis)
        return function(x, axis=axis)

    return rule


# Exact: NumPy gives bit for bit what IEEE 754 and XLA say, in float32 too.
EXACT: dict[str, Rule] = {
    "add": _plain(np.add),
    "add_any": _plain(np.add),
    "sub": _plain(np.subtract),
    "mul": _plain(np.multiply),
    "div": _plain(np.divide),
    "neg": _plain(np.negative),
    "abs": _plain(np.abs),
    "max": _plain(np.maximum),
    "min": _plain(np.minimum),
    "sqrt": _plain(np.sqrt),
    "square": _plain(np.square),
    "integer_pow": _integer_power,
    "sign": _plain(np.sign),
    "floor": _plain(np.floor),
    "ceil": _plain(np.ceil),
    "is_finite": _plain(np.isfinite),
    "clamp": _clamp,
    "eq": _plain(np.equal),
    "ne": _plain(np.not_equal),
    "lt": _plain(np.less),
    "le": _plain(np.less_equal),
    "gt": _plain(np.greater),
    "ge": _plain(np.greater_equal),
    "and": _plain(np.bitwise_and),
    "or": _plain(np.bitwise_or),
    "xor": _plain(np.bitwise_xor),
    "not": _plain(np.invert),
    "select_n": _select,
    "reshape": _reshape,
    "squeeze": _reshape,
    "broadcast_in_dim": _broadcast,
    "transpose": lambda equation, x: np.transpose(x, equation.params["permutation"]),
    "rev": lambda equation, x: np.flip(x, equation.params["dimensions"]),
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "pad": _pad,
    "concatenate": lambda equation, *arrays: np.concatenate(arrays, equation.params["dimension"]),
    "iota": _iota,
    "convert_element_type": _convert,
    "reduce_max": _reduce(np.max),
    "reduce_min": _reduce(np.min),
    "reduce_and": _reduce(np.all),
    "reduce_or": _reduce(np.any),
    "argmax": _arg(np.argmax),
    "argmin": _arg(np.argmin),
    "reduce_window_max": lambda equation, x: contractions.windowed(equation, x, np.maximum, -math.inf),
    "reduce_window_min": lambda equation, x: contractions.windowed(equation, x, np.minimum, math.inf),
    "copy": _plain(lambda x: x),
    "stop_gradient": _plain(lambda x: x),
    "name": _plain(lambda x: x),
    "optimization_barrier": _plain(lambda *arrays: list(arrays)),
}
# Of the exact ones, those whose meaning for whole numbers is NumPy's too.
WHOLE_TOO = frozenset(EXACT) - {
    "div",
    "integer_pow",
    "sqrt",
    "reduce_window_max",
    "reduce_window_min",
    "sign",
}
# In float64 NumPy's rounding stands for XLA's: what is compared is what the program means.
FLOAT64: dict[str, Rule] = {
    "exp": _plain(np.exp),
    "exp2": _plain(np.exp2),
    "expm1": _plain(np.expm1),
    "log": _plain(np.log),
    "log1p": _plain(np.log1p),
    "sin": _plain(np.sin),
    "cos": _plain(np.cos),
    "tan": _plain(np.tan),
    "sinh": _plain(np.sinh),
    "cosh": _plain(np.cosh),
    "tanh": _plain(np.tanh),
    "atan2": _plain(np.arctan2),
    "cbrt": _plain(np.cbrt),
    "pow": _plain(np.power),
    "rsqrt": _plain(lambda x: 1 / np.sqrt(x)),
    "round": _round,
    "logistic": _special("expit"),
    "erf": _special("erf"),
    "erfc": _special("erfc"),
    "reduce_sum": _reduce(np.sum),
    "reduce_prod": _reduce(np.prod),
    "cumsum": _cumulative(np.cumsum),
    "reduce_window_sum": lambda equation, x: contractions.windowed(equation, x, np.add, 0.0),
    "select_and_scatter_add": contractions.scattered_to_largest,
    "dot_general": contractions.dot,
    "conv_general_dilated": contractions.convolution,
}
