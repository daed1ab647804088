"""A program without its casts to float32: what a float64 run means where the model casts in between.

The program is interpreted once more, each operation on float64 values and with its dtype parameters made float64, and
that interpretation is traced to a new program.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

# Parameters of operations that name the dtype of a result.
_DTYPES = ("new_dtype", "preferred_element_type", "dtype")
_INLINED = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr"}
_LOOPS = ("while", "scan", "cond")


def narrowing_casts(jaxpr: Jaxpr) -> list[JaxprEqn]:
    """The casts from float64 to float32 in a program, inner functions included."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "convert_element_type":
            before = getattr(equation.invars[0].aval, "dtype", None)
            if before == np.float64 and equation.params["new_dtype"] == np.float32:
                found.append(equation)
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(inner, (Jaxpr, ClosedJaxpr)):
                    found += narrowing_casts(getattr(inner, "jaxpr", inner))
    return found


def widened(program: ClosedJaxpr) -> ClosedJaxpr | None:
    """The program without its casts to float32; None if it casts inside a loop, or cannot be interpreted."""

    def run(*arguments: Any) -> list[Any]:
        return _interpreted(program.jaxpr, program.consts, arguments)

    shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in program.in_avals]
    try:
        return jax.make_jaxpr(run)(*shapes)
    except (TypeError, ValueError, NotImplementedError):
        return None


def _interpreted(jaxpr: Jaxpr, constants: Any, arguments: Any) -> list[Any]:
    values: dict[Var, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        results = _applied(equation, inputs)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _applied(equation: JaxprEqn, inputs: list[Any]) -> list[Any]:
    name = equation.primitive.name
    if name in _INLINED:
        inner = equation.params[_INLINED[name]]
        return _interpreted(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)
    if name in _LOOPS:
        # A loop keeps the dtypes of what it carries.
        inputs = [_as(x, atom.aval) for x, atom in zip(inputs, equation.invars, strict=True)]
        return list(equation.primitive.bind(*inputs, **equation.params))
    parameters = {key: _wide(value) if key in _DTYPES else value for key, value in equation.params.items()}
    results = equation.primitive.bind(*_of_one_dtype(inputs), **parameters)
    return list(results) if equation.primitive.multiple_results else [results]


def _of_one_dtype(inputs: list[Any]) -> list[Any]:
    """Floating inputs as float64 where one of them is: a constant of the program may still be float32."""
    dtypes = {jnp.result_type(x) for x in inputs if _is_floating(x)}
    if jnp.dtype("float64") not in dtypes:
        return inputs
    return [jnp.asarray(x, jnp.float64) if _is_floating(x) else x for x in inputs]


def _is_floating(value: Any) -> bool:
    return hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.floating)


def _as(value: Any, aval: Any) -> Any:
    return jnp.asarray(value, aval.dtype) if _is_floating(value) and value.dtype != aval.dtype else value


def _wide(dtype: Any) -> Any:
    return np.dtype("float64") if dtype is not None and dtype == np.float32 else dtype
