"""Differences of structure: parameters that only one side has, or that only one side trains."""

from parity.matching.weights import WeightPlan
from parity.verdict.record import Finding


def structural_findings(plan: WeightPlan) -> tuple[Finding, ...]:
    """The defects of the port that the plan of the weights shows, by their ids in the catalogue."""
    return (
        *map(_unmatched_torch, plan.unmatched_torch),
        *(_unmatched_flax(name, plan) for name in plan.unmatched_flax),
        *_trained(plan),
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


def _trained(plan: WeightPlan) -> list[Finding]:
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
        elif link.torch_trainable and not link.flax_trainable:
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


def without_repeated(known: list[Finding], identified: list[Finding]) -> list[Finding]:
    """Both lists, without the findings of the structure that a tensor has shown too."""
    repeated = {(f.id, f.layer) for f in identified}
    return [f for f in known if f.mode is not None or (f.id, f.layer) not in repeated] + identified
