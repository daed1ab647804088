"""Name the cause of every running statistic that differs."""

from collections import Counter

import numpy as np

from parity.capture.trace import Call, Trace
from parity.comparison.entries import Comparison
from parity.diagnose.families.running_statistics import RunningStatisticsRule, explain, identify
from parity.verdict.policy import Policy, allowed_gap
from parity.verdict.record import Finding


def diagnose_state(comparison: Comparison, forced: Trace, policy: Policy) -> list[Finding]:
    """Findings for the running statistics that a Flax layer, fed PyTorch's input, updates otherwise than PyTorch.

    Args:
        comparison: of one mode.
        forced: Flax's forced run in float64.
        policy: decides which statistics differ.
    """
    findings: list[Finding] = []
    # A layer that Flax runs inside remat is no site, but what PyTorch's layer was given is known.
    counts = Counter(call.path for call in comparison.torch.calls)
    calls = {call.path: call for call in comparison.torch.calls if counts[call.path] == 1}
    calls |= {site.torch.path: site.torch for site in comparison.alignment.sites if site.role == "layer"}
    for index, link in enumerate(comparison.plan.links):
        metrics = comparison.introduced.get(("", "state_after", index))
        owner, _, leaf = link.torch.rpartition(".")
        if metrics is None or owner not in calls or leaf not in ("running_mean", "running_var"):
            continue
        if metrics.gap_max <= allowed_gap(metrics, policy):
            continue
        names = ((comparison.torch, link.torch), (forced, link.flax))
        rules = [_rule(trace, name, comparison.torch, calls[owner]) for trace, name in names]
        findings += explain(owner, leaf, *rules)
    return findings


def _rule(trace: Trace, name: str, torch: Trace, call: Call) -> RunningStatisticsRule | None:
    x = torch.get(call, "input")
    before, after = trace.arrays[f"state_before/{name}"], trace.arrays[f"state_after/{name}"]
    return None if x is None else identify(before, after, np.asarray(x), name.endswith("var"))
