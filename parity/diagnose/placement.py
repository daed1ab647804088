"""A stride that two neighbouring layers exchanged is one cause, not two."""

import dataclasses
import itertools
import re

from parity.verdict.record import Finding


def with_placements(findings: list[Finding]) -> list[Finding]:
    """The findings, with the exchanged strides of two layers of one block (1 for 2, 2 for 1) as stride-placement."""
    result = list(findings)
    positions = [
        position
        for position, finding in enumerate(findings)
        if finding.id == "stride-or-dilation" and finding.torch.startswith("stride")
    ]
    for first, second in itertools.combinations(positions, 2):
        a, b = findings[first], findings[second]
        if _block(a.layer) == _block(b.layer) and (a.torch, a.flax) == (b.flax, b.torch):
            result[first], result[second] = _placed(a, a, b), _placed(b, a, b)
    return list(dict.fromkeys(result))


def _block(layer: str) -> str:
    return layer.rpartition(".")[0]


def _placed(finding: Finding, a: Finding, b: Finding) -> Finding:
    """The finding of the pair a, b as stride-placement."""

    def strided(words: str) -> str:
        numbers = [int(n) for n in re.findall(r"\d+", words)]
        return a.layer if max(numbers, default=1) > 1 else b.layer

    torch_layer, flax_layer = strided(a.torch), strided(a.flax)
    return dataclasses.replace(
        finding,
        id="stride-placement",
        layer=flax_layer,
        code=next(f.code for f in (a, b) if f.layer == flax_layer),
        torch=f"the stride is at {torch_layer}",
        flax=f"the stride is at {flax_layer}",
        fix=f"stride in {torch_layer.rpartition('.')[2]}, not in {flax_layer.rpartition('.')[2]}",
    )
