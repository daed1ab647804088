"""The differences between PyTorch's and Flax's connection of two layers, by the ids of the catalogue."""

import math

from parity.diagnose.families import pooling
from parity.diagnose.families.activation import FLAX_NAMES, Activation
from parity.diagnose.families.connection_setting import Connection, ConnectionSetting
from parity.diagnose.families.pooling import PoolingKind
from parity.diagnose.identify import Difference
from parity.diagnose.joining import REVERSED, FlattenOrder, Join


def differences(
    problem: Connection, torch_setting: ConnectionSetting, flax_setting: ConnectionSetting
) -> list[Difference]:
    """The differing conventions of PyTorch's and Flax's connection."""
    differences = _of_joins(problem, torch_setting, flax_setting)
    if not differences:
        differences += _of_activations(torch_setting, flax_setting)
    differences += _of_pooling(problem, torch_setting, flax_setting)
    if torch_setting.resize != flax_setting.resize:
        differences += pooling.differences(torch_setting.resize, flax_setting.resize, ((), (), ()))
    if torch_setting.flatten is not flax_setting.flatten:
        words = f"flattens {torch_setting.flatten.value}", f"flattens {flax_setting.flatten.value}"
        channels_first = torch_setting.flatten is FlattenOrder.CHW
        fix = "jnp.transpose(x, (0, 3, 1, 2)) before the reshape" if channels_first else "no transpose"
        differences.append(Difference("flatten-order", *words, fix))
    if torch_setting.reversed_channels != flax_setting.reversed_channels:
        differences.append(_channel_order(torch_setting.reversed_channels, flax_setting.reversed_channels))
    return differences


def _of_pooling(
    problem: Connection, torch_setting: ConnectionSetting, flax_setting: ConnectionSetting
) -> list[Difference]:
    """Other pooling, or the same pooling of one input with outputs of two shapes (another ceil mode)."""
    source = torch_setting.sources[0]
    same_input = problem.flax_shapes[source] == problem.shapes[source]
    pools = torch_setting.pool.kind is not PoolingKind.NONE
    other_output = pools and same_input and problem.shape_out != problem.flax_shape_out
    if torch_setting.pool == flax_setting.pool and not other_output:
        return []
    outputs = [
        _spatial(problem, shape, torch_setting) for shape in (problem.shape_out, problem.flax_shape_out)
    ]
    shapes = problem.shapes[source][2:], *outputs
    return pooling.differences(torch_setting.pool, flax_setting.pool, shapes)


def _channel_order(torch_reversed: bool, flax_reversed: bool) -> Difference:
    names = ("channels in order", "channels reversed")
    fix = "keep the order of the channels (RGB, not BGR)"
    return Difference("channel-order", names[torch_reversed], names[flax_reversed], fix)


def _spatial(problem: Connection, out: tuple[int, ...], setting: ConnectionSetting) -> tuple[int, ...]:
    """The spatial shape after pooling, before a flatten."""
    if len(out) != 2 or setting.pool.kind not in pooling.WINDOWED + pooling.RESIZED:
        return out[2:]
    side = math.isqrt(out[1] // max(problem.shapes[setting.sources[0]][1], 1))
    return (side, side)


def _of_joins(
    problem: Connection, torch_setting: ConnectionSetting, flax_setting: ConnectionSetting
) -> list[Difference]:
    """A shortcut that is missing, added or exchanged, or an activation on the other side of the sum."""
    settings = torch_setting, flax_setting
    joins = {setting.join for setting in settings}
    if joins == {Join.SUM} and sorted(torch_setting.sources) == sorted(flax_setting.sources):
        words = [_sum_words(problem, setting) for setting in settings]
        activations = [{*setting.inner, setting.outer} - {Activation.IDENTITY} for setting in settings]
        if words[0] != words[1] and activations[0] == activations[1]:
            return [Difference("residual-order", *words, f"compute {words[0]}")]
        return []
    if len(joins) == 1 and torch_setting.sources == flax_setting.sources:
        return []
    words = [_join_words(problem, setting) for setting in settings]
    only_torch = {problem.names[i] for i in {*torch_setting.sources} - {*flax_setting.sources}}
    only_flax = {problem.names[i] for i in {*flax_setting.sources} - {*torch_setting.sources}}
    if len(only_torch) == len(only_flax) == len(joins) == 1:
        difference = _of_names(*only_torch, *only_flax)
        if difference is not None:
            return [difference]
    residual = Join.SUM in joins and joins <= {Join.SUM, Join.ONLY}
    return [Difference("residual-missing" if residual else None, *words, f"compute {words[0]}")]


def _of_names(torch_name: str, flax_name: str) -> Difference | None:
    """Two sources that are the same tensor, but one is reversed, or Flax's is not yet scaled."""
    unreversed = [name.replace(REVERSED, "") for name in (torch_name, flax_name)]
    if REVERSED in torch_name + flax_name and unreversed[0] == unreversed[1]:
        return _channel_order(REVERSED in torch_name, REVERSED in flax_name)
    if torch_name.endswith(f" * {flax_name}"):
        scale = torch_name.removesuffix(f" * {flax_name}")
        return Difference("parameter-missing", f"multiplies by {scale}", "does not", f"multiply by {scale}")
    return None


def _sum_words(problem: Connection, setting: ConnectionSetting) -> str:
    parts = sorted(zip(setting.sources, setting.inner, strict=True), key=lambda part: part[0])
    inside = " + ".join(_called(activation, problem.names[index]) for index, activation in parts)
    return _called(setting.outer, inside)


def _join_words(problem: Connection, setting: ConnectionSetting) -> str:
    parts = [
        _called(activation, problem.names[index])
        for index, activation in zip(setting.sources, setting.inner, strict=True)
    ]
    if setting.join is Join.CONCATENATION:
        return _called(setting.outer, f"concatenation of {', '.join(parts)}")
    return _called(
        setting.outer, {Join.SUM: " + ", Join.PRODUCT: " * ", Join.ONLY: ""}[setting.join].join(parts)
    )


def _called(activation: Activation, argument: str) -> str:
    return argument if activation is Activation.IDENTITY else f"{activation.title}({argument})"


def _of_activations(torch_setting: ConnectionSetting, flax_setting: ConnectionSetting) -> list[Difference]:
    pairs = [
        *zip(torch_setting.inner, flax_setting.inner, strict=False),
        (torch_setting.outer, flax_setting.outer),
        (torch_setting.late, flax_setting.late),
    ]
    return [_of_activation(in_torch, in_flax) for in_torch, in_flax in pairs if in_torch != in_flax]


def _of_activation(in_torch: Activation, in_flax: Activation) -> Difference:
    words = in_torch.describe(), in_flax.describe()
    if in_torch is not Activation.IDENTITY:
        gelus = {Activation.GELU, Activation.GELU_TANH}
        id = "gelu-approximation" if {in_torch, in_flax} == gelus else "activation-kind"
        return Difference(id, *words, f"use {FLAX_NAMES.get(in_torch, words[0])}")
    fix = f"remove {FLAX_NAMES.get(in_flax, words[1])}"
    if in_flax in (Activation.SOFTMAX, Activation.LOG_SOFTMAX):
        words = "hands on the logits", f"applies {words[1]}, which the loss applies again"
        return Difference("softmax-twice", *words, fix)
    return Difference("activation-kind", *words, fix)
