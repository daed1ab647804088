"""Layers that hold more on one side, such as their activation: with what surrounds them they are one region.

Whether a layer whose outputs differ is wrong, or only ends elsewhere, is decided by forced runs in which it is not cut
out: a layer that ends elsewhere leaves nothing behind that differs, whatever diverges before it.
"""

import dataclasses
from collections.abc import Callable, Mapping

from parity.comparison.entries import Key, Runs
from parity.matching.calls import Alignment
from parity.verdict.policy import Policy, allowed_gap
from parity.verdict.record import Metrics

Introduced = dict[Key, Metrics]
# The forced runs of an alignment, and their metrics.
Forced = Callable[[Alignment], tuple[Runs, Introduced]]
# A trial takes two runs; more rounds than these would be for a model of which most layers differ.
_ROUNDS = 3


def with_regions(
    alignment: Alignment, runs: Runs, introduced: Introduced, forced: Forced, policy: Policy
) -> tuple[Alignment, Runs, Introduced]:
    """The alignment without the layers that end elsewhere on the other side, and its runs.

    Args:
        alignment: the sites.
        runs, introduced: forced at these sites.
        forced: makes the same for another alignment.
        policy: decides what differs.
    """

    def differs(metrics: Mapping[Key, Metrics], key: Key) -> bool:
        return key in metrics and not metrics[key].gap_max <= allowed_gap(metrics[key], policy)

    def trial(left_out: set[str]) -> tuple[Alignment, Runs, Introduced, set[str]]:
        sites = tuple(site for site in alignment.sites if site.torch.key not in left_out)
        cut = dataclasses.replace(alignment, sites=sites)
        cut_runs, found = forced(cut)
        wrong = {key for key in found if differs(found, key)}
        fresh = {key for key in wrong if not differs(introduced, key)}
        return cut, cut_runs, found, _blamed(alignment, left_out, wrong, fresh)

    suspects = [
        site.torch.key
        for site in alignment.sites
        if site.role == "layer"
        and not site.torch.draws
        and any(differs(introduced, (site.torch.key, "output", i)) for i in range(site.torch.outputs))
    ]
    # Of two in a row one may be wrong, so that neighbours are not left out together.
    moved: set[str] = set()
    for group in filter(None, (suspects[0::2], suspects[1::2])):
        moved |= {*group} - trial({*group})[-1]
    for _ in range(_ROUNDS):
        if not moved:
            break
        *result, blamed = trial(moved)
        if not blamed:
            return result[0], result[1], result[2]
        moved -= blamed
    return alignment, runs, introduced


def _blamed(alignment: Alignment, left_out: set[str], wrong: set[Key], fresh: set[Key]) -> set[str]:
    """The layers that must stay cut out.

    Of what differs since they are not (`fresh`), the layer before is blamed, and of a cotangent the layer behind. A
    layer behind which something differs anyway (`wrong`) stays too: it may be wrong as well.
    """
    blamed: set[str] = set()
    last, is_next = "", False
    for site in alignment.sites:
        if site.torch.key in left_out:
            last, is_next = site.torch.key, True
            continue
        what, count = ("input", site.torch.inputs) if site.role == "layer" else ("output", site.torch.outputs)
        received = {(site.torch.key, what, index) for index in range(count)}
        if last and received & (wrong if is_next else fresh):
            blamed.add(last)
        is_next = False
    last = ""
    for site in reversed(alignment.sites):
        if site.torch.key in left_out:
            last = site.torch.key
        elif last and any(
            (site.torch.key, "output_cotangent", i) in fresh for i in range(site.torch.outputs)
        ):
            blamed.add(last)
    return blamed
