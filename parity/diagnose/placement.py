"""A stride that two neighbouring layers exchanged is one cause, not two."""

import dataclasses
import re

from parity.verdict.record import Finding


def with_placements(found: list[Finding]) -> list[Finding]:
    """Turn a pair of exchanged strides in one block (1 for 2 here, 2 for 1 there) into stride-placement."""
    result = list(found)
    lost = [i for i, f in enumerate(found) if f.id == "stride-or-dilation" and f.torch.startswith("stride")]
    for first in lost:
        for second in lost:
            a, b = found[first], found[second]
            if (
                first < second
                and _block(a.layer) == _block(b.layer)
                and (a.torch, a.flax) == (b.flax, b.torch)
            ):
                for position, one in ((first, a), (second, b)):
                    result[position] = _placed(one, a, b)
    return list(dict.fromkeys(result))


def _block(layer: str) -> str:
    return layer.rpartition(".")[0]


def _placed(one: Finding, a: Finding, b: Finding) -> Finding:
    def strided(words: str) -> str:
        numbers = [int(n) for n in re.findall(r"\d+", words)]
        return a.layer if max(numbers, default=1) > 1 else b.layer

    ours, theirs = strided(a.torch), strided(a.flax)
    return dataclasses.replace(
        one,
        id="stride-placement",
        layer=theirs,
        code=next(f.code for f in (a, b) if f.layer == theirs),
        torch=f"the stride is at {ours}",
        flax=f"the stride is at {theirs}",
        fix=f"stride in {ours.rpartition('.')[2]}, not in {theirs.rpartition('.')[2]}",
    )
