"""The differences between two pieces of connection, by the ids of the catalogue."""

import math

from parity.diagnose.families import pooling
from parity.diagnose.families.activation import FLAX_NAMES, GELU, GELU_TANH, IDENTITY
from parity.diagnose.families.connection_setting import Connection, ConnectionSetting
from parity.diagnose.identify import Difference
from parity.diagnose.joining import CHW, CONCATENATION, ONLY, PRODUCT, REVERSED, SUM


def differences(
    problem: Connection, torch_setting: ConnectionSetting, flax_setting: ConnectionSetting
) -> list[Difference]:
    """Everything in which PyTorch's connection and Flax's differ."""
    found = _of_joins(problem, torch_setting, flax_setting)
    if not found:
        found += _of_activations(torch_setting, flax_setting)
    source = torch_setting.sources[0]
    unchanged = problem.flax_shapes[source] == problem.shapes[source]
    if torch_setting.pool != flax_setting.pool or (
        torch_setting.pool.kind and unchanged and problem.shape_out != problem.flax_shape_out
    ):
        outs = [
            _spatial(problem, shape, torch_setting) for shape in (problem.shape_out, problem.flax_shape_out)
        ]
        found += pooling.differences(
            torch_setting.pool, flax_setting.pool, (problem.shapes[source][2:], *outs)
        )
    if torch_setting.resize != flax_setting.resize:
        found += pooling.differences(torch_setting.resize, flax_setting.resize, ((), (), ()))
    if torch_setting.flatten != flax_setting.flatten:
        words = f"flattens {torch_setting.flatten}", f"flattens {flax_setting.flatten}"
        fix = (
            "jnp.transpose(x, (0, 3, 1, 2)) before the reshape"
            if torch_setting.flatten == CHW
            else "no transpose"
        )
        found.append(Difference("flatten-order", *words, fix))
    if torch_setting.reversed_channels != flax_setting.reversed_channels:
        found.append(_channel_order(torch_setting.reversed_channels, flax_setting.reversed_channels))
    return found


def _channel_order(torch_setting: bool, flax_setting: bool) -> Difference:
    names = ("channels in order", "channels reversed")
    fix = "keep the order of the channels (RGB, not BGR)"
    return Difference("channel-order", names[torch_setting], names[flax_setting], fix)


def _spatial(problem: Connection, out: tuple[int, ...], setting: ConnectionSetting) -> tuple[int, ...]:
    """The spatial shape after pooling, before a flatten."""
    if len(out) != 2 or not setting.pool.kind or setting.pool.kind in pooling.WHOLE:
        return out[2:]
    side = math.isqrt(out[1] // max(problem.shapes[setting.sources[0]][1], 1))
    return (side, side)


def _of_joins(
    problem: Connection, torch_setting: ConnectionSetting, flax_setting: ConnectionSetting
) -> list[Difference]:
    """A shortcut that is missing, added or another one, or an activation on the other side of the sum."""
    if torch_setting.join == flax_setting.join == SUM and sorted(torch_setting.sources) == sorted(
        flax_setting.sources
    ):
        words = _sum_words(problem, torch_setting), _sum_words(problem, flax_setting)
        kinds = [{*s.inner, s.outer} - {IDENTITY} for s in (torch_setting, flax_setting)]
        if words[0] != words[1] and kinds[0] == kinds[1]:
            return [Difference("residual-order", *words, f"compute {words[0]}")]
        return []
    if (torch_setting.join, torch_setting.sources) == (flax_setting.join, flax_setting.sources):
        return []
    words = _join_words(problem, torch_setting), _join_words(problem, flax_setting)
    changed = [
        {problem.names[i] for i in {*a.sources} - {*b.sources}}
        for a, b in ((torch_setting, flax_setting), (flax_setting, torch_setting))
    ]
    if len(changed[0]) == len(changed[1]) == 1 and torch_setting.join == flax_setting.join:
        exchanged = _of_names(*changed[0], *changed[1])
        if exchanged is not None:
            return [exchanged]
    if SUM in (torch_setting.join, flax_setting.join) and {torch_setting.join, flax_setting.join} <= {
        SUM,
        ONLY,
    }:
        return [Difference("residual-missing", *words, f"compute {words[0]}")]
    return [Difference(None, *words, f"compute {words[0]}")]


def _of_names(mine: str, other: str) -> Difference | None:
    """One source in place of another that is the same tensor, reversed or not yet scaled."""
    if REVERSED in mine + other and mine.replace(REVERSED, "") == other.replace(REVERSED, ""):
        return _channel_order(REVERSED in mine, REVERSED in other)
    if mine.endswith(f" * {other}"):
        scale = mine.removesuffix(f" * {other}")
        return Difference("parameter-missing", f"multiplies by {scale}", "does not", f"multiply by {scale}")
    return None


def _sum_words(problem: Connection, setting: ConnectionSetting) -> str:
    parts = sorted(zip(setting.sources, setting.inner, strict=True))
    inside = " + ".join(_called(name, problem.names[index]) for index, name in parts)
    return _called(setting.outer, inside)


def _join_words(problem: Connection, setting: ConnectionSetting) -> str:
    parts = [
        _called(name, problem.names[index])
        for index, name in zip(setting.sources, setting.inner, strict=True)
    ]
    if setting.join == CONCATENATION:
        return _called(setting.outer, f"concatenation of {', '.join(parts)}")
    return _called(setting.outer, {SUM: " + ", PRODUCT: " * ", ONLY: ""}[setting.join].join(parts))


def _called(name: str, argument: str) -> str:
    return argument if name == IDENTITY else f"{name.partition(',')[0]}({argument})"


def _of_activations(torch_setting: ConnectionSetting, flax_setting: ConnectionSetting) -> list[Difference]:
    found = []
    pairs = [
        *zip(torch_setting.inner, flax_setting.inner, strict=False),
        (torch_setting.outer, flax_setting.outer),
        (torch_setting.late, flax_setting.late),
    ]
    for mine, other in pairs:
        if mine == other:
            continue
        fix = (
            f"use {FLAX_NAMES.get(mine, mine)}"
            if mine != IDENTITY
            else f"remove {FLAX_NAMES.get(other, other)}"
        )
        if mine == IDENTITY and "softmax" in other:
            words = "hands on the logits", f"applies {other}, which the loss applies again"
            found.append(Difference("softmax-twice", *words, fix))
            continue
        id = "gelu-approximation" if {mine, other} == {GELU, GELU_TANH} else "activation-kind"
        found.append(Difference(id, mine, other, fix))
    return found
