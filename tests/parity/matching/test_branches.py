"""Branches that are called in another order, under other names: the pairing is found by which the outputs agree."""

import pytest
import torch
from flax import linen
from torch import nn

import parity
from parity.matching.branches import exchanged


class Torch(nn.Module):
    """Two branches, in part of the same shapes, between two convolutions of these shapes."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.long = nn.Sequential(
            nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        )
        self.short = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        x = self.stem(x)
        left = self.long(x)
        return self.last(torch.tanh(left - 2 * self.short(x)))


class Port(linen.Module):
    """The port: names tell nothing, and the short branch is called first. With `factor` another, it is a wrong one."""

    factor: float = 2.0
    first: str = "short"

    @linen.compact
    def __call__(self, x):
        def conv(n, features, size):
            return linen.Conv(features, (size, size), name=f"layer_{n}")

        def short():
            return conv("e", 4, 3)(x)

        def long():
            return conv("d", 4, 3)(conv("c", 4, 1)(linen.relu(conv("b", 6, 1)(x))))

        x = conv("a", 4, 1)(x)
        if self.first == "short":
            right, left = short(), long()
        else:
            left, right = long(), short()
        return conv("f", 4, 3)(linen.tanh(left - self.factor * right))


@pytest.mark.parametrize("first", ["short", "long"])
def test_branches_in_another_order_are_paired_by_what_they_compute(first):
    report = parity.check(Torch(), Port(first=first), "2x3x5x4", mode="eval", sizes="same", probes=False)
    assert report.verdict == "equivalent", report.summary()


def test_where_no_order_explains_the_outputs_the_weights_are_refused():
    with pytest.raises(parity.CannotCompare, match="may be any of"):
        parity.check(Torch(), Port(factor=2.5), "2x3x5x4", mode="eval", sizes="same", probes=False)


def test_one_pair_of_neighbouring_parts_changes_places():
    found = {"".join(b for _, b in sorted(pairs)) for pairs in exchanged("0123", "abcd", lambda *_: True, 1)}
    # By hand: the first part begins anywhere, and both are of any length.
    by_hand = {"bacd", "cabd", "dabc", "bcad", "cdab", "bcda", "acbd", "adbc", "acdb", "abdc"}
    assert found == by_hand
    assert list(exchanged("01", "ab", lambda a, b: (a, b) in {("0", "a"), ("1", "b")}, 1)) == []
    assert list(exchanged("01", "abc", lambda *_: True, 1)) == []
