"""How a Flax model is told of its mode: by an argument of its call, a field, or which of its variables may change.

Settings of well-known names (`train`, `deterministic`, ...) are taken by name. Where there are none, every boolean
argument and field is tried: the one that makes the model update statistics or draw random numbers tells the mode.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

from parity.capture.axes import with_axes
from parity.capture.intercept import Interceptor, is_array
from parity.capture.trees import list_tensors
from parity.errors import CannotCompare

# Keyword -> its value in train mode and in eval mode.
KNOWN: dict[str, tuple[bool, bool]] = {
    "train": (True, False),
    "training": (True, False),
    "is_training": (True, False),
    "deterministic": (False, True),
    "use_running_average": (False, True),
}
_DRAWS = ("random_bits", "threefry2x32", "rng_bit_generator")
# Arguments that adapters fill by themselves.
_FILLED = ("rngs", "key", "rng")


@dataclasses.dataclass(frozen=True)
class Modes:
    """The settings of a model in train and in eval mode, by name, each as (train, eval).

    `arguments` are keywords of its call, `fields` attributes of the model. `frozen_in_eval`: no variable may change in
    eval mode (Linen's `mutable=[]`).
    """

    arguments: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    fields: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    frozen_in_eval: bool = False

    def keywords(self, mode: str) -> dict[str, Any]:
        """The keywords of a call in a mode."""
        return {name: values[mode == "eval"] for name, values in self.arguments.items()}

    def attributes(self, mode: str) -> dict[str, Any]:
        """The values of the model's fields in a mode."""
        return {name: values[mode == "eval"] for name, values in self.fields.items()}


@dataclasses.dataclass(frozen=True)
class Effects:
    """What a run does: how many state arrays it changes, whether it draws random numbers, and its output's shapes."""

    updates: int
    draws: bool
    shapes: tuple[tuple[int, ...], ...]

    def of_training(self) -> int:
        """How much it looks like training."""
        return self.updates + self.draws


def effects(
    run: Callable[[dict[str, Any]], tuple[Any, dict[str, Any]]], state: dict[str, Any], axes: list[str]
) -> Effects:
    """The effects of `run(state) -> (output, state after)`, read from its trace; nothing is computed."""

    def arrays(state: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        output, after = run(state)
        return [array for _, array in list_tensors(output, is_array)], after

    program = jax.make_jaxpr(arrays, axis_env=[(name, 1) for name in axes])(state)
    jaxpr = program.jaxpr
    outputs = jaxpr.outvars[: len(jaxpr.outvars) - len(state)]
    updates = sum(_origin(jaxpr, atom) not in jaxpr.invars for atom in jaxpr.outvars[len(outputs) :])
    draws = any(name in _DRAWS for name in _primitives(jaxpr))
    return Effects(updates, draws, tuple(tuple(atom.aval.shape) for atom in outputs))


def effects_of(model: Any, trial: Modes, inputs: list[Any], mode: str) -> Effects | None:
    """The effects of a run of an adapter under trial settings; None if the model does not accept them."""
    before, model.modes = model.modes, trial

    def run(state: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return model.run(model.params, state, inputs, mode=mode, seed=0, interceptor=Interceptor())

    try:
        return with_axes(model.axes, lambda: effects(run, model.state, model.axes))
    except Exception:
        # Whatever the user's model raises, it does not accept these settings; the run itself will say so.
        return None
    finally:
        model.modes = before


def _origin(jaxpr: Jaxpr, atom: Any) -> Any:
    """The variable that an inner function hands on unchanged, or the atom itself."""
    for equation in reversed(jaxpr.eqns):
        if atom in equation.outvars and equation.primitive.name in ("jit", "pjit"):
            inner = equation.params["jaxpr"].jaxpr
            origin = _origin(inner, inner.outvars[equation.outvars.index(atom)])
            if origin in inner.invars:
                return _origin(jaxpr, equation.invars[inner.invars.index(origin)])
    return atom


def _primitives(jaxpr: Jaxpr) -> Iterator[str]:
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda v: isinstance(v, (Jaxpr, ClosedJaxpr))
        ):
            if isinstance(value, (Jaxpr, ClosedJaxpr)):
                yield from _primitives(getattr(value, "jaxpr", value))


def known_modes(call: Callable[..., Any]) -> Modes:
    """The modes by the names of the call's arguments."""
    names = inspect.signature(call).parameters
    return Modes({name: values for name, values in KNOWN.items() if name in names})


def takes(call: Callable[..., Any], name: str) -> bool:
    """Whether `call` has a parameter of this name."""
    return name in inspect.signature(call).parameters


def boolean_arguments(call: Callable[..., Any], inputs: int) -> dict[str, bool]:
    """The arguments that may be a switch, after self and the inputs, each with its default (or False)."""
    parameters = list(inspect.signature(call).parameters.values())[1 + inputs :]
    found = {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in _FILLED:
            continue
        is_named = parameter.annotation in (bool, "bool", bool | None, "bool | None", "Optional[bool]")
        has_default = parameter.default is not parameter.empty
        if isinstance(parameter.default, bool) or is_named or not has_default:
            found[parameter.name] = parameter.default if isinstance(parameter.default, bool) else False
    return found


def find_modes(
    call: Callable[..., Any],
    inputs: int,
    fields: Mapping[str, bool],
    effects_with: Callable[[Modes], Effects | None],
) -> Modes:
    """The modes of a model.

    Args:
        call: its `__call__`.
        inputs: how many arrays it is called with.
        fields: its boolean attributes.
        effects_with: the effects of a run in eval mode under trial settings; None if the model refuses them.
    """
    known = known_modes(call)
    if known.arguments:
        return _frozen_where_possible(known, effects_with)
    arguments = boolean_arguments(call, inputs)
    defaults = {name: (value, value) for name, value in arguments.items()}
    base = Modes(defaults)
    before = effects_with(base)
    if before is None:
        return base
    found_arguments, found_fields = dict(defaults), {}
    for name, value in arguments.items():
        trial = effects_with(Modes({**defaults, name: (not value, not value)}))
        if trial is not None and _tells(before, trial):
            found_arguments[name] = _ordered(value, before, trial)
    for name, value in fields.items():
        trial = effects_with(Modes(defaults, {name: (not value, not value)}))
        if trial is not None and _tells(before, trial):
            found_fields[name] = _ordered(value, before, trial)
    return _frozen_where_possible(Modes(found_arguments, found_fields), effects_with)


def _tells(before: Effects, flipped: Effects) -> bool:
    """Whether a switch tells the mode: one that changes the shape of the output is for something else."""
    return before != flipped and before.shapes == flipped.shapes


def _ordered(value: bool, before: Effects, flipped: Effects) -> tuple[bool, bool]:
    """(train, eval) of a switch that stands at `value` with effects `before`."""
    return (not value, value) if flipped.of_training() > before.of_training() else (value, not value)


def _frozen_where_possible(modes: Modes, effects_with: Callable[[Modes], Effects | None]) -> Modes:
    """A model that still updates statistics in eval mode may go by whether its variables can change."""
    in_eval = effects_with(modes)
    if in_eval is None or not in_eval.updates:
        return modes
    frozen = dataclasses.replace(modes, frozen_in_eval=True)
    return modes if effects_with(frozen) is None else frozen


def given_modes(
    call: Callable[..., Any],
    train: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    has_field: Callable[[str], bool],
) -> Modes:
    """The modes as the user gave them (`--flax-train NAME=VALUE`).

    Args:
        call: the model's `__call__`.
        train: settings in train mode.
        evaluation: settings in eval mode; the opposite of a boolean where it is not given.
        has_field: whether the model has an attribute.

    Raises:
        CannotCompare: the model has no such argument or field, or the value in eval mode is missing.
    """
    arguments, fields = {}, {}
    for name in {**train, **evaluation}:
        here, there = train.get(name, evaluation.get(name)), evaluation.get(name, train.get(name))
        if name not in evaluation or name not in train:
            if not isinstance(here, bool):
                raise CannotCompare(
                    f"The setting {name}={here!r} was given for one mode only; "
                    f"give both --flax-train {name}=VALUE and --flax-eval {name}=VALUE."
                )
            here, there = (here, not here) if name in train else (not there, there)
        if takes(call, name):
            arguments[name] = here, there
        elif has_field(name):
            fields[name] = here, there
        else:
            raise CannotCompare(
                f"The Flax model's call has no argument {name!r}, and the model has no field of that name; "
                "give --flax-train the name of one that tells the mode."
            )
    return Modes(arguments, fields)
