"""The pairing of calls: containers, blocks that end elsewhere, in-place modules, branches."""

import pytest
import torch
from flax import nnx
from torch import nn

import parity


class TorchBlock(nn.Module):
    """A residual block that works in place and ends after its ReLU."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.conv(x))
        y += x
        return self.relu(y)


class TorchNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(TorchBlock(), TorchBlock())
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.blocks(x).mean((2, 3)))


class NnxBlock(nnx.Module):
    def __init__(self, rngs, ends_before_relu, shortcut):
        self.conv = nnx.Conv(3, 3, (3, 3), padding=((1, 1), (1, 1)), rngs=rngs)
        self.ends_before_relu, self.shortcut = ends_before_relu, shortcut

    def __call__(self, x):
        y = nnx.relu(self.conv(x))
        if self.shortcut:
            y = y + x
        return y if self.ends_before_relu else nnx.relu(y)


class NnxNet(nnx.Module):
    def __init__(self, ends_before_relu=False, shortcuts=(True, True)):
        rngs = nnx.Rngs(0)
        self.blocks = nnx.List([NnxBlock(rngs, ends_before_relu, shortcut) for shortcut in shortcuts])
        self.head = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = nnx.relu(block(x)) if block.ends_before_relu else block(x)
        return self.head(x.mean((1, 2)))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_blocks_are_boundaries_and_in_place_modules_are_recorded_before_they_write():
    report = parity.check(TorchNet(), NnxNet(), "2x3x4x4", mode="eval")
    assert report.verdict == "equivalent", report.summary()
    assert [j.entry.name for j in report.entries("eval")] == [
        "input -> blocks.0.conv",
        "blocks.0.conv",
        "blocks.0.conv -> blocks.0",
        "blocks.0 -> blocks.1.conv",
        "blocks.1.conv",
        "blocks.1.conv -> blocks.1",
        "blocks -> head",
        "head",
        "head -> output",
    ]


def test_a_missing_shortcut_is_found_inside_its_block():
    report = parity.check(TorchNet(), NnxNet(shortcuts=(True, False)), "2x3x4x4", mode="eval")
    divergence = report.first_divergence
    assert (divergence.layer, divergence.phase) == ("blocks.1.conv -> blocks.1", "forward")


def test_blocks_that_end_elsewhere_are_no_divergence():
    report = parity.check(TorchNet(), NnxNet(ends_before_relu=True), "2x3x4x4", mode="eval")
    assert report.verdict == "equivalent", report.summary()
    assert "blocks.0.conv -> blocks.1.conv" in [j.entry.name for j in report.entries("eval")]


@pytest.mark.slow
def test_a_map_pairs_what_names_and_order_do_not():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.a(x) * torch.tanh(self.b(x))

    class Twin(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.first, self.second = nnx.Linear(3, 3, rngs=rngs), nnx.Linear(3, 3, rngs=rngs)

        def __call__(self, x):
            gate = nnx.tanh(self.first(x))
            return self.second(x) * gate

    assert parity.check(Branches(), Twin(), "2x3", mode="eval").verdict == "divergent"
    mapped = parity.check(Branches(), Twin(), "2x3", mode="eval", map={"a": "second", "b": "first"})
    assert mapped.verdict == "equivalent", mapped.summary()


@pytest.mark.drawn
def test_torchvision_resnet18_is_proven_equal():
    import torchvision

    from flaxcnn import models

    report = parity.check(
        torchvision.models.resnet18(num_classes=4), models.create("resnet18", num_classes=4), "2x3x32x32"
    )
    assert report.verdict == "equivalent", report.summary()
    assert report.coverage.layers == 41
