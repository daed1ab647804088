"""A program without its casts to float32: what a float64 run means where the model casts in between.

The program is interpreted once more, each operation on float64 values and with its dtype parameters made float64, and
that interpretation is traced to a new program. Constants are read as they were written, see `parity.capture.written`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from parity.capture.evaluate import scan_counts
from parity.capture.written import as_written, is_told

# Parameters of operations that name the dtype of a result.
_DTYPES = ("new_dtype", "preferred_element_type", "dtype")
# Operations that only call a function, with the parameter that holds it. The program is differentiated already, so a
# rule of its own for the derivative is no longer needed.
_INLINED = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
}


def narrowing_casts(jaxpr: Jaxpr) -> list[JaxprEqn]:
    """The casts from float64 to float32 in a program, inner functions included."""
    found = [
        equation
        for equation in jaxpr.eqns
        if equation.primitive.name == "convert_element_type"
        and getattr(equation.invars[0].aval, "dtype", None) == np.float64
        and equation.params["new_dtype"] == np.float32
    ]
    return found + [cast for inner in _inner_programs(jaxpr) for cast in narrowing_casts(inner)]


def narrowed(program: ClosedJaxpr) -> bool:
    """Whether a program computes anything in float32, inner functions included."""
    return _narrowed(program.jaxpr)


def _narrowed(jaxpr: Jaxpr) -> bool:
    results = (getattr(variable.aval, "dtype", None) for e in jaxpr.eqns for variable in e.outvars)
    return any(dtype == np.float32 for dtype in results) or any(map(_narrowed, _inner_programs(jaxpr)))


def has_rounded_constants(program: ClosedJaxpr) -> bool:
    """Whether a program holds float32 constants of which it cannot be told what they were written as."""
    literals = _literals(program.jaxpr)
    return any(_is_narrow(value) and not is_told(np.asarray(value)) for value in [*program.consts, *literals])


def _literals(jaxpr: Jaxpr) -> list[Any]:
    own = [atom.val for equation in jaxpr.eqns for atom in equation.invars if isinstance(atom, Literal)]
    return own + [value for inner in _inner_programs(jaxpr) for value in _literals(inner)]


def _inner_programs(jaxpr: Jaxpr) -> list[Jaxpr]:
    values = [value for equation in jaxpr.eqns for value in equation.params.values()]
    flat = [v for value in values for v in (value if isinstance(value, (tuple, list)) else (value,))]
    return [getattr(v, "jaxpr", v) for v in flat if isinstance(v, (Jaxpr, ClosedJaxpr))]


def widened(program: ClosedJaxpr, axes: Sequence[str] = ()) -> ClosedJaxpr | None:
    """The program without its casts to float32, which may read named `axes`; None if it cannot be interpreted."""

    def run(*arguments: Any) -> list[Any]:
        return _interpreted(program.jaxpr, program.consts, arguments)

    shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in program.in_avals]
    try:
        return jax.make_jaxpr(run, axis_env=[(name, 1) for name in axes])(*shapes)
    except (TypeError, ValueError, KeyError, NotImplementedError):
        return None


def _interpreted(jaxpr: Jaxpr, constants: Any, arguments: Any) -> list[Any]:
    values: dict[Var, Any] = dict(zip(jaxpr.constvars, map(_wide_constant, constants), strict=True))
    values.update(zip(jaxpr.invars, map(_wide, arguments), strict=True))

    def read(atom: Any) -> Any:
        return _wide_constant(atom.val) if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        results = _applied(equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, map(_wide, results), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _applied(equation: JaxprEqn, inputs: list[Any]) -> list[Any]:
    name, params = equation.primitive.name, equation.params
    if name in _INLINED:
        return _called(params[_INLINED[name]], inputs)
    if name == "scan":
        return _scan(params, inputs)
    if name == "while":
        return _while(params, inputs)
    if name == "cond":
        branches = [lambda *x, program=program: _called(program, x) for program in params["branches"]]
        return list(lax.switch(jnp.asarray(inputs[0], jnp.int32), branches, *inputs[1:]))
    # Bits that are read as a float are as wide as they were.
    fixed = name == "bitcast_convert_type"
    wide = params if fixed else {key: _wide_dtype(v) if key in _DTYPES else v for key, v in params.items()}
    if fixed:
        inputs = [_as(x, atom.aval) for x, atom in zip(inputs, equation.invars, strict=True)]
    results = equation.primitive.bind(*inputs, **_bind_parameters(equation, wide))
    return list(results) if equation.primitive.multiple_results else [results]


def _bind_parameters(equation: JaxprEqn, params: dict[str, Any]) -> dict[str, Any]:
    """The parameters as `bind` takes them: those that hold a function are given as a function."""
    found = equation.primitive.get_bind_params(params)
    if isinstance(found, tuple):
        functions, params = found
        if functions:
            raise NotImplementedError(f"{equation.primitive.name} holds a function")
        return dict(params)
    return dict(found)


def _called(program: Any, inputs: Sequence[Any]) -> list[Any]:
    return _interpreted(getattr(program, "jaxpr", program), getattr(program, "consts", ()), inputs)


def _scan(params: dict[str, Any], inputs: list[Any]) -> list[Any]:
    fixed, carried = scan_counts(params)
    constants, start, rows = inputs[:fixed], inputs[fixed : fixed + carried], inputs[fixed + carried :]

    def step(carry: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
        results = _called(params["jaxpr"], [*constants, *carry, *row])
        return results[:carried], results[carried:]

    options = {"length": params["length"], "reverse": params["reverse"], "unroll": params["unroll"]}
    carry, stacked = lax.scan(step, start, rows, **options)
    return [*carry, *stacked]


def _while(params: dict[str, Any], inputs: list[Any]) -> list[Any]:
    tested, repeated = params["cond_nconsts"], params["body_nconsts"]
    test, constants = inputs[:tested], inputs[tested : tested + repeated]
    return list(
        lax.while_loop(
            lambda carry: _called(params["cond_jaxpr"], [*test, *carry])[0],
            lambda carry: _called(params["body_jaxpr"], [*constants, *carry]),
            inputs[tested + repeated :],
        )
    )


def _is_narrow(value: Any) -> bool:
    return hasattr(value, "dtype") and value.dtype == np.float32


def _wide(value: Any) -> Any:
    return jnp.asarray(value, jnp.float64) if _is_narrow(value) else value


def _wide_constant(value: Any) -> Any:
    return jnp.asarray(as_written(np.asarray(value)), jnp.float64) if _is_narrow(value) else value


def _as(value: Any, aval: Any) -> Any:
    is_floating = hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.floating)
    return jnp.asarray(value, aval.dtype) if is_floating and value.dtype != aval.dtype else value


def _wide_dtype(dtype: Any) -> Any:
    return np.dtype("float64") if dtype is not None and dtype == np.float32 else dtype
