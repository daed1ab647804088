"""Differences of structure: parameters that only one side has, or that only one side trains."""

from collections.abc import Collection

import numpy as np

from parity.capture.trace import Trace
from parity.matching.ties import Tie
from parity.matching.weights import WeightPlan
from parity.verdict.record import Finding


def structural_findings(
    plan: WeightPlan, frozen: Collection[str] = (), unequal: Collection[Tie] = ()
) -> tuple[Finding, ...]:
    """The defects of the port that the plan of the weights shows, by their ids in the catalogue.

    Args:
        plan: of the weights.
        frozen: PyTorch's parameters with `requires_grad=False`.
        unequal: the ties of Flax's whose values differ in PyTorch.
    """
    return (
        *(_tied(tie, tie in unequal) for tie in plan.ties),
        *map(_unmatched_torch, plan.unmatched_torch),
        *(_unmatched_flax(name, plan) for name in plan.unmatched_flax),
        *_trained(plan, frozen),
    )


def _unmatched_torch(name: str) -> Finding:
    owner, _, leaf = name.rpartition(".")
    return Finding(
        id="bias-missing" if leaf == "bias" else "parameter-missing",
        layer=owner,
        phase="forward",
        quantity=f"parameter {leaf}",
        torch=f"{name} is part of the layer",
        flax="the layer has no such parameter",
        fix=f"give the Flax layer a {leaf} (use_bias=True)"
        if leaf == "bias"
        else f"give the Flax layer a {leaf}",
    )


def _unmatched_flax(name: str, plan: WeightPlan) -> Finding:
    owner, _, leaf = name.rpartition(".")
    torch_owner = next((t for t, f in plan.modules.items() if f == owner), owner)
    bias = leaf in ("bias", "b", "beta")
    return Finding(
        id="bias-extra" if bias else "buffer-trained",
        layer=torch_owner,
        phase="forward" if bias else "backward",
        quantity=f"parameter {leaf}",
        torch="the layer has no such parameter",
        flax=f"{name} is a trained parameter",
        fix="remove it from the Flax layer (use_bias=False)"
        if bias
        else "make it a constant or another type of variable",
    )


def _tied(tie: Tie, unequal: bool) -> Finding:
    torch, flax = (
        " and ".join(dict.fromkeys(getattr(link, s) for link in tie.links)) for s in ("torch", "flax")
    )
    owner, _, leaf = tie.links[-1].torch.rpartition(".")
    if tie.side == "torch":
        one = "are one tensor" if " and " in torch else "is one tensor, used several times"
        words = f"{torch} {one}", f"{flax} are parameters that part at the first update"
        fix = "share one nnx.Param (head.kernel = embed.embedding), or use one module twice (embed.attend)"
    else:
        of = "of different values, which Flax cannot hold" if unequal else "that part at the first update"
        words = f"{torch} are parameters {of}", f"{flax} is one parameter, used for all of them"
        fix = "give each its own parameter"
    return Finding("weight-tying", owner, "backward", f"parameter {leaf}", *words, fix)


def _trained(plan: WeightPlan, frozen: Collection[str]) -> list[Finding]:
    findings = []
    for link in plan.links:
        owner, _, leaf = link.torch.rpartition(".")
        if link.flax_trainable and not link.torch_trainable:
            findings.append(
                Finding(
                    id="buffer-trained",
                    layer=owner,
                    phase="backward",
                    quantity=f"parameter {leaf}",
                    torch=f"{link.torch} is a buffer, without a gradient",
                    flax=f"{link.flax} is a trained parameter",
                    fix="keep it in another variable type (nnx) or collection (Linen) than the parameters",
                )
            )
        elif link.torch_trainable and not link.flax_trainable and link.torch not in frozen:
            findings.append(
                Finding(
                    id="gradient-stopped",
                    layer=owner,
                    phase="backward",
                    quantity=f"parameter {leaf}",
                    torch=f"{link.torch} is a trained parameter",
                    flax=f"{link.flax} is not among the parameters, so it has no gradient",
                    fix="make it an nnx.Param, or put it in the collection 'params'",
                )
            )
    return findings


def trained_though_frozen(plan: WeightPlan, frozen: Collection[str], flax: Trace) -> list[Finding]:
    """The parameters that PyTorch keeps as they are and Flax trains: those with a gradient in a run of Flax."""
    findings = []
    for link in plan.links:
        gradient = flax.arrays.get(f"gradient/{link.flax}")
        if link.torch not in frozen or not link.flax_trainable or gradient is None or not np.any(gradient):
            continue
        owner, _, leaf = link.torch.rpartition(".")
        findings.append(
            Finding(
                id="frozen-parameter",
                layer=owner,
                phase="backward",
                quantity=f"parameter {leaf}",
                torch=f"{link.torch} is frozen (requires_grad=False)",
                flax=f"{link.flax} is a trained parameter, with a gradient",
                fix="apply jax.lax.stop_gradient to it, or keep it in another variable type (nnx) or collection "
                "(Linen); if only your optimiser freezes it, accept the difference",
            )
        )
    return findings


def without_repeated(known: list[Finding], identified: list[Finding]) -> list[Finding]:
    """Both lists, without the findings of the structure that a tensor has shown too."""
    repeated = {(f.id, f.layer) for f in identified}
    return [f for f in known if f.mode is not None or (f.id, f.layer) not in repeated] + identified
