"""Finds the masks of `parity.capture.written_draws` in the program of a run."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from parity.capture.evaluate import CALLS_OF
from parity.capture.written_draws import Mask, Masks


def masks_of(
    program: ClosedJaxpr,
    names: dict[str, int],
    fixed: dict[int, Any],
    axes: Sequence[str],
    draws: Callable[[JaxprEqn], bool],
) -> Masks:
    """Find the masks in the program of a run.

    Args:
        program: of the run.
        names: of the recorded tensors, the positions among its results.
        fixed: by their position, the arguments that are no data: the state.
        axes: named axes that it sums over.
        draws: whether an operation draws random numbers.
    """
    flat = _flattened(program, axes)
    walk = _Walk(flat, fixed)
    recorded: dict[Var, str] = {}
    for name, position in names.items():
        atom = flat.jaxpr.outvars[position]
        if isinstance(atom, Var):
            recorded.setdefault(atom, name)
    reached = walk.reached(recorded, draws)
    masks, others = [], set()
    for equation, ends in reached:
        mask = walk.mask(equation, tuple(ends), set(recorded))
        if mask is None:
            others |= set(ends)
        else:
            masks.append(mask)
    return Masks(tuple(masks), frozenset(others))


def _flattened(program: ClosedJaxpr, axes: Sequence[str]) -> ClosedJaxpr:
    """The program with the functions written out that its operations stand for."""

    def run(jaxpr: Jaxpr, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        values = dict(zip(jaxpr.constvars, constants, strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))
        for equation in jaxpr.eqns:
            inputs = [a.val if isinstance(a, Literal) else values[a] for a in equation.invars]
            inner = equation.params.get(CALLS_OF.get(equation.primitive.name, ""))
            if inner is None:
                made = equation.primitive.bind(*inputs, **equation.params)
                found = made if equation.primitive.multiple_results else [made]
            else:
                found = run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)
            values.update(zip(equation.outvars, found, strict=True))
        return [a.val if isinstance(a, Literal) else values[a] for a in jaxpr.outvars]

    shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in program.in_avals]
    environment = [(name, 1) for name in axes]
    return jax.make_jaxpr(lambda *given: run(program.jaxpr, program.consts, given), axis_env=environment)(
        *shapes
    )


class _Walk:
    """Walks through a flat program."""

    def __init__(self, flat: ClosedJaxpr, fixed: dict[int, Any]) -> None:
        self.jaxpr = flat.jaxpr
        self.known = dict(zip(self.jaxpr.constvars, flat.consts, strict=True))
        self.known.update({self.jaxpr.invars[position]: value for position, value in fixed.items()})
        self.producers = {v: equation for equation in self.jaxpr.eqns for v in equation.outvars}
        self.readers: dict[Var, list[JaxprEqn]] = {}
        self.data = {v for v in self.jaxpr.invars if v not in self.known}
        for equation in self.jaxpr.eqns:
            read = [a for a in equation.invars if isinstance(a, Var)]
            if any(a in self.data for a in read):
                self.data.update(equation.outvars)
            for variable in dict.fromkeys(read):
                self.readers.setdefault(variable, []).append(equation)

    def reached(
        self, recorded: dict[Var, str], draws: Callable[[JaxprEqn], bool]
    ) -> list[tuple[JaxprEqn, dict[str, None]]]:
        """The operations that draw, in order, each with the recorded tensors that it reaches first."""
        found: dict[int, dict[str, None]] = {}
        for start, name in recorded.items():
            waiting, seen = [start], set()
            while waiting:
                variable = waiting.pop()
                equation = self.producers.get(variable)
                if equation is None or variable in seen or (variable in recorded and variable is not start):
                    continue
                seen.add(variable)
                if draws(equation):
                    found.setdefault(id(equation), {})[name] = None
                waiting += [a for a in equation.invars if isinstance(a, Var)]
        return [(equation, found[id(equation)]) for equation in self.jaxpr.eqns if id(equation) in found]

    def mask(self, draw: JaxprEqn, ends: tuple[str, ...], recorded: set[Var]) -> Mask | None:
        """The mask that is made of what an operation draws, if one is, and is applied once."""
        if draw.primitive.name != "random_bits" or self.data.intersection(_variables(draw)):
            return None
        bits, applied = draw.outvars[0], self._applied(draw.outvars[0], recorded)
        if applied is None:
            return None
        equation, made = applied
        choice = self._choice(equation, made)
        if choice is None:
            return None
        mask = self._sliced([made], bits)
        keys = self._sliced([draw.invars[0]], None, jax.random.key_data)
        if mask is None or keys is None:
            return None
        shape = jax.ShapeDtypeStruct(bits.aval.shape, bits.aval.dtype)
        return Mask(ends, equation.outvars[0].aval.shape, shape, keys, mask, *choice)

    def _choice(self, equation: JaxprEqn, mask: Var) -> tuple[int | None] | None:
        """The value of a mask that chooses data and not a constant, None if it multiplies; None if it does neither."""
        read = list(equation.invars)
        if read.count(mask) != 1:
            return None
        if equation.primitive.name == "mul":
            return (None,)
        data = [i for i, a in enumerate(read[1:]) if isinstance(a, Var) and a in self.data]
        is_choice = equation.primitive.name == "select_n" and read[0] is mask and len(read) == 3
        return (data[0],) if is_choice and len(data) == 1 else None

    def _applied(self, bits: Var, recorded: set[Var]) -> tuple[JaxprEqn, Var] | None:
        """The one operation with data, and the one variable made of bits that it reads."""
        found: list[tuple[JaxprEqn, Var]] = []
        waiting, seen = [bits], {bits}
        while waiting:
            variable = waiting.pop()
            if variable in recorded:
                return None
            for equation in self.readers.get(variable, []):
                if any(isinstance(a, Var) and a in self.data for a in equation.invars):
                    found.append((equation, variable))
                    continue
                new = [v for v in equation.outvars if v not in seen]
                waiting += new
                seen.update(new)
        return found[0] if len(found) == 1 else None

    def _sliced(
        self, results: list[Any], given: Var | None, change: Callable[[Any], Any] = lambda array: array
    ) -> ClosedJaxpr | None:
        """The part of the program that makes results, of `given` and what is known; None if it draws anything else."""
        needed: set[Any] = {r for r in results if isinstance(r, Var)}
        part = []
        for equation in reversed(self.jaxpr.eqns):
            if needed.isdisjoint(equation.outvars) or given in equation.outvars:
                continue
            if equation.primitive.name == "random_bits" and given is not None:
                return None
            part.append(equation)
            needed.update(_variables(equation))
        if not needed.isdisjoint(self.data):
            return None

        def run(*arguments: Any) -> Any:
            values = {**self.known, **({given: arguments[0]} if given is not None else {})}
            for equation in reversed(part):
                inputs = [a.val if isinstance(a, Literal) else values[a] for a in equation.invars]
                made = equation.primitive.bind(*inputs, **equation.params)
                found = made if equation.primitive.multiple_results else [made]
                values.update(zip(equation.outvars, found, strict=True))
            return [change(values[result]) for result in results]

        shapes = [] if given is None else [jax.ShapeDtypeStruct(given.aval.shape, given.aval.dtype)]
        return jax.make_jaxpr(run)(*shapes)


def _variables(equation: JaxprEqn) -> list[Var]:
    return [a for a in equation.invars if isinstance(a, Var)]
