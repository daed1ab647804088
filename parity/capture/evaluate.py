"""Evaluate what a Flax model traces to, one operation at a time.

A capture keeps every tensor, so there is nothing to fuse, and compiling it whole would cost more than running it.
`parity.capture.traced` traces a function once to a jaxpr; `Evaluation` walks through it:

    exact in every precision (reshape, add, max ...)   NumPy, which rounds as IEEE 754 says and XLA does
    float64, of a known meaning (convolution, sum ...)  NumPy and BLAS: float64 says what the program means
    all else                                            XLA, one small program for each operation and shape

So the float32 run is XLA's wherever rounding is XLA's to choose. Programs are kept for the life of the process, and
are shared by layers, modes, runs and checks.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from flaxcnn.ops.cpu.primitive import PREFIX, function_on_cpu
from parity.capture.numpy_rules import Rule, rule_of
from parity.capture.programs import Programs
from parity.capture.shelf import Lazy, loaded

Values = list[Any]
# Operations that stand for a function written out in one of their parameters.
CALLS_OF = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
# Operations over the devices of a named axis, of which there is one.
_OVER_DEVICES: dict[str, Callable[[JaxprEqn, Values], Values]] = {
    **dict.fromkeys(
        ("psum", "psum_invariant", "pmax", "pmin", "pcast", "pvary", "ppermute"),
        lambda equation, inputs: inputs,
    ),
    "all_gather": lambda equation, inputs: [
        as_numpy(array).reshape(variable.aval.shape)
        for array, variable in zip(inputs, equation.outvars, strict=True)
    ],
    "axis_index": lambda equation, inputs: [np.zeros((), np.int32)],
}
# A loop of more turns is left to XLA.
_MOST_TURNS = 64
_NOTHING: Mapping[int, Any] = MappingProxyType({})


def as_numpy(array: Any) -> Any:
    """The values of an array; random keys, which NumPy does not know, stay as they are."""
    if isinstance(array, jax.Array) and jax.dtypes.issubdtype(array.dtype, jax.dtypes.extended):
        return array
    return np.asarray(array)


def key_name(data: Any) -> str:
    """A name for a random key, by its data."""
    return np.asarray(data).tobytes().hex()


def ones_of(ones: np.ndarray, dtype: Any) -> np.ndarray:
    """Numbers whose bits are all one where that is wanted, and else zero."""
    # The largest number of 64 bits is too large for a Python integer in `np.where`.
    return np.where(ones, np.array(np.iinfo(dtype).max, dtype), np.array(0, dtype))


class Evaluation:
    """One walk through a program; XLA's part is compiled ahead of it, in other threads."""

    def __init__(
        self,
        program: ClosedJaxpr,
        keep: Callable[[np.ndarray], Any] | None,
        bits: Mapping[str, np.ndarray] = MappingProxyType({}),
    ) -> None:
        """Find out what computes each operation, and begin to compile what XLA will have to compute.

        Args:
            program: what is evaluated.
            keep: what to give in place of a result.
            bits: by the name of a random key, where the bits that it gives are to be one, and else zero.
        """
        self.program, self.keep, self.bits = program, keep, bits
        self.programs = Programs()
        # By identity: layers of equal structure share a jaxpr. The jaxpr is kept, so that its identity is.
        self._plans: dict[int, tuple[Jaxpr, list[_Step]]] = {}
        self._plan(program.jaxpr)

    def run(self, arguments: Values) -> Values:
        """The results of the program, as NumPy arrays."""
        try:
            with np.errstate(all="ignore"):
                return [
                    value if self.keep and isinstance(value, Lazy) else as_numpy(loaded(value))
                    for value in self._closed(self.program, arguments, self._finished())
                ]
        finally:
            self.programs.close()

    def _finished(self) -> dict[int, list[Var]]:
        """The results that nothing reads after an operation, by its position; none if all are kept in memory."""
        if self.keep is None:
            return {}
        jaxpr = self.program.jaxpr
        results = {atom for atom in jaxpr.outvars if isinstance(atom, Var)}
        finished: dict[int, list[Var]] = {}
        for step in reversed(self._plan(jaxpr)):
            touched = {v for v in (*step.inputs, *step.outputs) if isinstance(v, Var)} & results
            results -= touched
            finished[step.position] = list(touched)
        return finished

    def _plan(self, jaxpr: Jaxpr) -> "list[_Step]":
        kept = self._plans.get(id(jaxpr))
        if kept is None:
            uses = last_uses(jaxpr)
            steps = [
                _Step(equation, self._action(equation), uses, position)
                for position, equation in enumerate(jaxpr.eqns)
                if equation.effects or any(variable in uses for variable in equation.outvars)
            ]
            kept = self._plans[id(jaxpr)] = jaxpr, steps
        return kept[1]

    def _action(self, equation: JaxprEqn) -> Callable[[Values], Values]:
        """What computes an operation: a function of its inputs."""
        name, options = equation.primitive.name, equation.params
        called = self._called(equation)
        if called is not None:
            return self._inner(called)
        if name in ("while", "cond"):
            return self._while(equation) if name == "while" else self._cond(equation)
        if name == "scan" and 0 < options["length"] <= _MOST_TURNS:
            return self._scan(equation)
        rule: Any = _OVER_DEVICES.get(name)
        if rule is not None:
            return functools.partial(rule, equation)
        rule = rule_of(equation)
        if rule is not None:
            return functools.partial(_by_rule, rule, equation)
        # Its results are read when something needs them: till then XLA computes beside what follows.
        return self._drawn(equation, self.programs.prepared(equation))

    def _drawn(self, equation: JaxprEqn, prepared: Callable[[Values], Values]) -> Callable[[Values], Values]:
        """What computes an operation, which gives the bits that are given for its key if it draws random bits."""
        if equation.primitive.name != "random_bits" or not self.bits:
            return prepared
        wanted = equation.outvars[0].aval

        def action(inputs: Values) -> Values:
            ones = self.bits.get(key_name(jax.random.key_data(inputs[0])))
            if ones is None or ones.shape != wanted.shape:
                return prepared(inputs)
            return [ones_of(ones, wanted.dtype)]

        return action

    def _called(self, equation: JaxprEqn) -> ClosedJaxpr | None:
        """The function that an operation stands for."""
        parameter = CALLS_OF.get(equation.primitive.name)
        if parameter is not None and parameter in equation.params:
            inner = equation.params[parameter]
            return inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
        if not equation.primitive.name.startswith(PREFIX) or jax.default_backend() != "cpu":
            return None
        function = function_on_cpu(equation.primitive, equation.params)
        if function is None:
            return None
        shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in equation.invars]
        # JAX keeps the trace of a compiled function.
        return function.trace(*shapes).jaxpr

    def _inner(self, closed: ClosedJaxpr) -> Callable[[Values], Values]:
        self._plan(closed.jaxpr)
        return functools.partial(self._closed, closed)

    def _closed(
        self, closed: ClosedJaxpr, arguments: Values, finished: Mapping[int, list[Var]] = _NOTHING
    ) -> Values:
        jaxpr = closed.jaxpr
        values: dict[Var, Any] = dict(zip(jaxpr.constvars, map(as_numpy, closed.consts), strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))
        for step in self._plan(jaxpr):
            found = step.action([_read(values, atom) for atom in step.inputs])
            for variable, value in zip(step.outputs, found, strict=True):
                if variable is not None:
                    values[variable] = value
            # What is read for the last time goes at once: a backward pass frees what the forward pass kept.
            for variable in step.last:
                values.pop(variable, None)
            for variable in finished.get(step.position, ()):
                values[variable] = self.keep(as_numpy(loaded(values[variable])))
        return [values[atom] if isinstance(atom, Var) else _read(values, atom) for atom in jaxpr.outvars]

    def _cond(self, equation: JaxprEqn) -> Callable[[Values], Values]:
        branches = [self._inner(branch) for branch in equation.params["branches"]]
        return lambda inputs: branches[int(np.clip(as_numpy(inputs[0]), 0, len(branches) - 1))](inputs[1:])

    def _while(self, equation: JaxprEqn) -> Callable[[Values], Values]:
        options = equation.params
        tests, bodies = options["cond_nconsts"], options["body_nconsts"]
        goes_on, body = self._inner(options["cond_jaxpr"]), self._inner(options["body_jaxpr"])

        def action(inputs: Values) -> Values:
            for_test, for_body = inputs[:tests], inputs[tests : tests + bodies]
            carried = inputs[tests + bodies :]
            while bool(goes_on([*for_test, *carried])[0]):
                carried = body([*for_body, *carried])
            return carried

        return action

    def _scan(self, equation: JaxprEqn) -> Callable[[Values], Values]:
        options = equation.params
        (constants, count), length = scan_counts(options), options["length"]
        body = self._inner(options["jaxpr"])
        turns = range(length)[::-1] if options["reverse"] else range(length)

        def action(inputs: Values) -> Values:
            fixed, carried = inputs[:constants], inputs[constants : constants + count]
            rows = [as_numpy(row) for row in inputs[constants + count :]]
            made: dict[int, Values] = {}
            for turn in turns:
                found = body([*fixed, *carried, *(row[turn] for row in rows)])
                carried, made[turn] = found[:count], found[count:]
            stacked = (
                np.stack([as_numpy(made[turn][i]) for turn in range(length)]) for i in range(len(made[0]))
            )
            return [*carried, *stacked]

        return action


def scan_counts(params: Mapping[str, Any]) -> tuple[int, int]:
    """How many of the inputs of a `scan` stay, and how many it hands on."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    # jax 0.12
    fixed, carried = (len(part) for part in params["ft_in"].unpack()[:2])
    return fixed, carried


class _Step:
    """One operation: what it reads, what computes it, where its results go, and what it reads for the last time."""

    __slots__ = ("action", "inputs", "last", "outputs", "position")

    def __init__(
        self, equation: JaxprEqn, action: Callable[[Values], Values], uses: dict[Var, int], position: int
    ) -> None:
        self.action, self.position = action, position
        self.inputs = [
            np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, Literal) else atom
            for atom in equation.invars
        ]
        self.outputs = [variable if variable in uses else None for variable in equation.outvars]
        self.last = [v for v in self.inputs if isinstance(v, Var) and uses[v] == position]


def _read(values: dict[Var, Any], atom: Any) -> Any:
    """The value of a variable, made if it is lazy; a constant is its own."""
    if isinstance(atom, Var):
        return loaded(values[atom])
    return np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, Literal) else atom


def last_uses(jaxpr: Jaxpr) -> dict[Var, int]:
    """The position of the last operation that reads each variable, of those that a result depends on.

    A result counts as read after the end, and a variable that nothing reads has no entry.
    """
    end = len(jaxpr.eqns)
    uses = {atom: end for atom in jaxpr.outvars if not isinstance(atom, Literal)}
    for position in reversed(range(end)):
        equation = jaxpr.eqns[position]
        if equation.effects or any(variable in uses for variable in equation.outvars):
            for atom in equation.invars:
                if not isinstance(atom, Literal):
                    uses.setdefault(atom, position)
    return uses


def _by_rule(rule: Rule, equation: JaxprEqn, inputs: Values) -> Values:
    """What a rule gives, whose shapes and dtypes must be those of the trace.

    Raises:
        RuntimeError: they are not: the rule is wrong, and not the user's model.
    """
    found = rule(equation, *map(as_numpy, inputs))
    results = list(found) if isinstance(found, (list, tuple)) else [found]
    for variable, value in zip(equation.outvars, results, strict=True):
        expected = variable.aval
        if value.shape != expected.shape or value.dtype != expected.dtype:
            raise RuntimeError(
                f"The NumPy rule of {equation.primitive.name} gives {value.dtype}{list(value.shape)}; the trace says "
                f"{expected.dtype}{list(expected.shape)}."
            )
    return [np.asarray(value) for value in results]
