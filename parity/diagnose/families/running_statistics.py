"""Identify the rule by which a batch norm updates its running statistics.

Both frameworks follow r' = (1 - m) r + m s for a batch statistic s: the mean, or the variance with ddof 0
or 1. With n values a channel, s_1 = s_0 n / (n - 1). For each candidate s the weight m of the new statistic is the
least-squares solution of r' - r = m (s - r) over the channels. The rule is the candidate whose residual is as small as
float64 rounding.
"""

import dataclasses

import numpy as np

from parity.verdict.record import Finding

# A rule reproduces the update below this relative residual: float64 rounding with room for the order of sums.
_EXACT = 1e-9
_DDOF_NAMES = {0: "biased (divided by n)", 1: "unbiased (divided by n - 1)"}


@dataclasses.dataclass(frozen=True)
class RunningStatisticsRule:
    """r' = (1 - new_weight) r + new_weight s, with s of this ddof."""

    new_weight: float
    ddof: int


def identify(
    before: np.ndarray, after: np.ndarray, x: np.ndarray, variance: bool
) -> RunningStatisticsRule | None:
    """The update rule that takes `before` to `after`, or None if no known rule does.

    Args:
        before: [c], the running statistic before the call.
        after: [c], after it.
        x: [n, c, ...], the input of the call in PyTorch's layout.
        variance: whether the statistic is the variance rather than the mean.
    """
    axes = (0, *range(2, x.ndim))
    count = x.size // x.shape[1]
    best: tuple[float, RunningStatisticsRule] | None = None
    for ddof in (0, 1) if variance and count > 1 else (0,):
        statistic = np.var(x, axis=axes, ddof=ddof) if variance else np.mean(x, axis=axes)
        step, towards = after - before, statistic - before
        weight = float(np.dot(towards, step) / np.dot(towards, towards)) if np.any(towards) else 0.0
        residual = float(np.max(np.abs(step - weight * towards))) / float(np.max(np.abs(statistic)) or 1.0)
        if best is None or residual < best[0]:
            best = (residual, RunningStatisticsRule(weight, ddof))
    return best[1] if best is not None and best[0] < _EXACT else None


def explain(
    layer: str, name: str, torch_rule: RunningStatisticsRule | None, flax_rule: RunningStatisticsRule | None
) -> list[Finding]:
    """The differences between two update rules, by the ids of the defect catalogue."""
    if torch_rule is None or flax_rule is None:
        return []

    def finding(id: str, torch_words: str, flax_words: str, fix: str) -> Finding:
        return Finding(id, layer, "state", name, torch_words, flax_words, fix)

    findings = []
    weights = (
        f"new statistic weighs {torch_rule.new_weight:.6g}",
        f"new statistic weighs {flax_rule.new_weight:.6g}",
    )
    if abs(flax_rule.new_weight) < _EXACT < abs(torch_rule.new_weight):
        fix = "write the updated batch statistics back (mutable=['batch_stats'], or merge the module's state)"
        return [finding("bn-stats-not-written-back", "updated by the call", "unchanged by the call", fix)]
    if abs(torch_rule.new_weight - flax_rule.new_weight) > 1e-6:
        fix = f"momentum={1 - torch_rule.new_weight:.6g} in Flax's sense (the weight of the old statistic)"
        findings.append(finding("bn-momentum-complement", *weights, fix))
    if torch_rule.ddof != flax_rule.ddof:
        fix = "multiply the batch variance by n / (n - 1) in the running average (not in the normalisation)"
        findings.append(
            finding("bn-running-var-bias", _DDOF_NAMES[torch_rule.ddof], _DDOF_NAMES[flax_rule.ddof], fix)
        )
    return findings
