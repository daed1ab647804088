"""Compares everything computed by hand with JAX and PyTorch, by the derived rule of `parity.verdict.policy`.

No tolerance is chosen here. Each tensor is also computed in float32, which measures its rounding; from that follows
how far two correct computations in float64 may differ.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from experiments.autodiff.backprop_by_hand import network
from experiments.autodiff.backprop_by_hand.by_jax import by_jax
from experiments.autodiff.backprop_by_hand.by_torch import by_torch
from experiments.autodiff.backprop_by_hand.network import Arrays, Pass
from experiments.autodiff.backprop_by_hand.rules import RULES, SYMBOLS, LayerRule
from parity.comparison.direct import Compared, measure_directly
from parity.engine import environment
from parity.verdict.judge import judge
from parity.verdict.record import JudgedQuantity, Report

DTYPES = ("float64", "float32")
# By way and dtype: "hand", "jax" or "torch"; "float64" or "float32".
Passes = dict[str, dict[str, Pass]]


@dataclasses.dataclass(frozen=True)
class Row:
    """One tensor by hand against both others, in float64.

    `kind` is "value", "signal" or "gradient"; `gap_*` = max |hand - other|; `margin` is the largest gap that rounding
    explains over the larger gap (infinite if there is no gap, below 1 if rounding does not explain it).
    """

    layer: str
    kind: str
    name: str
    symbol: str
    formula: str
    shape: tuple[int, ...]
    norm: float
    gap_jax: float
    gap_torch: float
    margin: float
    equal: bool


def run_passes(params: Arrays, x: np.ndarray, labels: np.ndarray) -> Passes:
    """One pass forward and back, three ways in two precisions."""
    ways: dict[str, Callable[..., Pass]] = {"hand": network.by_hand, "jax": by_jax, "torch": by_torch}
    return {name: {dtype: way(params, x, labels, dtype) for dtype in DTYPES} for name, way in ways.items()}


def judged(compared: list[Compared]) -> Report:
    """The verdict on tensors by hand (passed as Flax's) and by machine (passed as PyTorch's)."""
    return judge(measure_directly(compared, environment=environment("by hand", 0)))


def compare(passes: Passes) -> Report:
    """The verdict on each layer's output, on the error signal of its input and on its parameters' gradients.

    A layer's rule computes the error signal of its input. So the last layer that differs has the wrong rule, because
    the backward pass reaches it first.
    """
    return judged([tensors for rule in RULES for tensors in _of_layer(rule, passes)])


def _of_layer(rule: LayerRule, passes: Passes) -> list[Compared]:
    wanted: list[tuple[str, str]] = [("values", rule.output) if rule.output else ("loss", "loss")]
    wanted += [("signals", rule.input), *(("gradients", name) for name in rule.parameters)]
    return [
        Compared(
            where=rule.layer,
            quantity=quantity(part, name, other),
            phase="forward" if part in ("values", "loss") else "backward",
            torch32=_tensor(passes[other]["float32"], part, name),
            torch64=_tensor(passes[other]["float64"], part, name),
            flax32=_tensor(passes["hand"]["float32"], part, name),
            flax64=_tensor(passes["hand"]["float64"], part, name),
        )
        for part, name in wanted
        for other in ("jax", "torch")
    ]


def quantity(part: str, name: str, other: str) -> str:
    """A tensor's name in the report: "signals z1 against torch"."""
    return f"{part} {name} against {other}"


def _tensor(computed: Pass, part: str, name: str) -> np.ndarray:
    tensor = computed.loss if part == "loss" else getattr(computed, part)[name]
    return np.reshape(tensor, -1) if np.ndim(tensor) == 0 else tensor


def rows(passes: Passes, report: Report) -> list[Row]:
    """The table, in the order in which the tensors are computed: forward, then back from the loss."""
    judgements = {q.quantity.name: q for entry in report.layers for q in entry.quantities}
    hand = passes["hand"]["float64"]
    table = [
        _row(rule.layer, "value", hand, judgements, (rule.output, SYMBOLS[rule.output], rule.forward))
        for rule in RULES
        if rule.output
    ]
    table.append(_row("loss", "loss", hand, judgements, ("loss", "L", RULES[-1].forward)))
    for rule in reversed(RULES):
        table.append(
            _row(
                rule.layer, "signal", hand, judgements, (rule.input, f"δ{SYMBOLS[rule.input]}", rule.backward)
            )
        )
        for name, formula in rule.parameters.items():
            symbol = formula.partition(" =")[0].partition("[")[0]
            table.append(_row(rule.layer, "gradient", hand, judgements, (name, symbol, formula)))
    return table


PARTS = {"value": "values", "loss": "loss", "signal": "signals", "gradient": "gradients"}


def _row(
    layer: str, kind: str, hand: Pass, judgements: dict[str, JudgedQuantity], words: tuple[str, str, str]
) -> Row:
    name, symbol, formula = words
    tensor = hand.loss if kind == "loss" else getattr(hand, PARTS[kind])[name]
    jax, torch = (judgements[quantity(PARTS[kind], name, other)] for other in ("jax", "torch"))
    return Row(
        layer=layer,
        kind=kind,
        name=name,
        symbol=symbol,
        formula=formula,
        shape=tuple(tensor.shape),
        norm=float(np.linalg.norm(tensor)),
        gap_jax=gap(jax),
        gap_torch=gap(torch),
        margin=min(jax.margin, torch.margin),
        equal=jax.status == torch.status == "equivalent",
    )


def gap(judged: JudgedQuantity) -> float:
    """The largest difference in float64."""
    metrics = judged.quantity.introduced
    assert metrics is not None
    return metrics.gap_max
