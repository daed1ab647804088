"""Options of a model, held against the signature of its builder: a wrong one is one sentence, and nothing is built."""

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import jax

from flaxcnn.errors import InvalidArgument, hint
from flaxcnn.functional import functional
from flaxcnn.models.initialise import shapes_only

# Whole numbers count something and are at least 1, but a residual branch may have no unit.
_LEAST = {"branches": 0}
_MOST = 1_000_000
# Numbers: the lowest and the highest value, and whether they are allowed themselves.
_RANGES: dict[str, tuple[float, bool, float, bool]] = {
    "dropout": (0.0, True, 1.0, False),
    "logit_scale": (0.0, False, math.inf, False),
}
# Only sizes above this can make a model that no memory holds; the count takes a moment, so that others are spared it.
_COUNTED_ABOVE = 4096
_MOST_PARAMETERS = 2_000_000_000

_WORDS: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    str: ("a text", "texts"),
    type(None): ("null", "nulls"),
}


def parameters_of(build: Callable[..., Any], *hidden: str) -> dict[str, inspect.Parameter]:
    """The named parameters of a class or function, but for `self`, `rngs` and the `hidden` ones."""
    function = build.__init__ if isinstance(build, type) else build
    skipped = {"self", "rngs", *hidden}
    return {key: value for key, value in inspect.signature(function).parameters.items() if key not in skipped}


def check_options(
    model: str,
    known: Mapping[str, inspect.Parameter],
    options: Mapping[str, Any],
    build: Callable[..., Any],
) -> None:
    """Raise unless every option is known and has a value of its type and range.

    Args:
        model: the name, for the error.
        known: the parameters of the builder, by name; their annotations are the types.
        options: what was given.
        build: makes the model of the options, for a look at its size.

    Raises:
        InvalidArgument: one sentence about the first wrong option.
    """
    for option, value in options.items():
        if option not in known:
            raise InvalidArgument(f"The model {model!r} has no option {option!r}: {hint(option, known)}")
        kind = known[option].annotation
        if not _fits(value, kind):
            raise InvalidArgument(
                f"The model {model!r} got {option}={_shown(value)}; expected {_worded(kind)}."
            )
        _check_range(model, option, value)
    if any(number > _COUNTED_ABOVE for value in options.values() for number in _whole_numbers(value)):
        _check_size(model, build)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type as an annotation has it; a list does where a tuple is asked for."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, part) for part in parts)
    if origin in (tuple, Sequence):
        if not isinstance(value, list | tuple):
            return False
        kinds = list(parts) if origin is tuple else [parts[0]] * len(value)
        return len(value) == len(kinds) and all(map(_fits, value, kinds))
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return isinstance(value, Real) and math.isfinite(value)
    return isinstance(value, Integral if kind is int else kind)


def _worded(kind: Any) -> str:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_worded(part) for part in parts)
    if origin is tuple:
        return f"a list of {len(parts)} {_WORDS[parts[0]][1]}"
    return f"a list of {_WORDS[parts[0]][1]}" if origin is Sequence else _WORDS[kind][0]


def _shown(value: Any) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def _whole_numbers(value: Any) -> list[int]:
    items = value if isinstance(value, list | tuple) else [value]
    return [int(item) for item in items if isinstance(item, Integral) and not isinstance(item, bool)]


def _check_range(model: str, option: str, value: Any) -> None:
    least = _LEAST.get(option, 1)
    if option not in _RANGES and any(not least <= number <= _MOST for number in _whole_numbers(value)):
        raise InvalidArgument(
            f"The model {model!r} got {option}={_shown(value)}; expected no number below {least} or above {_MOST:,}."
        )
    if option in _RANGES:
        low, with_low, high, with_high = _RANGES[option]
        if not low <= value <= high or (value == low and not with_low) or (value == high and not with_high):
            below = "" if math.isinf(high) else f" and {'at most' if with_high else 'below'} {high:g}"
            raise InvalidArgument(
                f"The model {model!r} got {option}={value!r}; expected a number "
                f"{'of at least' if with_low else 'above'} {low:g}{below}."
            )


def _check_size(model: str, build: Callable[..., Any]) -> None:
    with shapes_only():
        abstract = jax.eval_shape(lambda: functional(build()).params)
    count = sum(value.size for value in abstract.values())
    if count > _MOST_PARAMETERS:
        raise InvalidArgument(
            f"The model {model!r} would have {count:,} parameters with these options; choose smaller ones."
        )
