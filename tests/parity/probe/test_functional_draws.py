"""A dropout that PyTorch calls as a function is compared with Flax's module as an `nn.Dropout` is."""

import pytest
import torch
import torch.nn.functional as F
from flax import nnx

import parity
from parity.capture.torch import capture_torch


class Functional(torch.nn.Module):
    """Drops twice in one module: channels of an image, then elements."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = torch.nn.Conv2d(3, 6, 1), torch.nn.Linear(6, 5)

    def forward(self, x):
        x = F.dropout2d(self.conv(x), 0.3, self.training)
        return F.dropout(self.fc(x.mean((2, 3))), 0.5, self.training)


class Modules(nnx.Module):
    """The port of it."""

    def __init__(self, rate=0.5, axes=(1, 2)):
        rngs = nnx.Rngs(0)
        self.conv, self.fc = nnx.Conv(3, 6, (1, 1), rngs=rngs), nnx.Linear(6, 5, rngs=rngs)
        self.first = nnx.Dropout(0.3, broadcast_dims=axes, rngs=rngs)
        self.second = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x):
        return self.second(self.fc(self.first(self.conv(x)).mean((1, 2))))


def test_a_functional_dropout_is_compared_with_a_module():
    report = parity.check(Functional(), Modules(), "2x3x4x3", sizes="same")
    assert report.verdict == "equivalent", report.summary()
    assert any(probe.kind == "chance" and probe.outcome == "agrees" for probe in report.probes)


@pytest.mark.parametrize(
    ("wrong", "layer", "id"),
    [
        ({"rate": 0.55}, "dropout(2)", "dropout-rate"),
        ({"axes": ()}, "dropout2d(1)", "dropout-shape"),
    ],
)
def test_what_it_draws_is_compared_too(wrong, layer, id):
    report = parity.check(Functional(), Modules(**wrong), "2x3x4x3", mode="train", sizes="same")
    assert report.verdict == "divergent"
    assert (layer, id) in [(cause.layer, cause.id) for cause in report.causes]


def test_the_dropout_of_a_module_without_others_inside_stays_a_part_of_it():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5))
    trace = capture_torch(
        model, [torch.ones(2, 3).numpy()], mode="train", dtype="float32", seed=0, objective=None
    )
    assert [call.path for call in trace.calls] == ["0", "1", ""]
    assert [call.draws for call in trace.calls] == [False, True, False]


class BehindAnActivation(torch.nn.Module):
    """Half of what the dropout is given is zero, and of four numbers three have no gradient."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = torch.nn.Conv2d(3, 6, 1), torch.nn.Linear(6, 5)

    def forward(self, x):
        x = F.dropout(torch.relu(self.conv(x)), 0.3, self.training)
        return self.fc(F.max_pool2d(x, 2).mean((2, 3)))


class BehindAnActivationPort(nnx.Module):
    """The port of it."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv, self.fc = nnx.Conv(3, 6, (1, 1), rngs=rngs), nnx.Linear(6, 5, rngs=rngs)
        self.drop = nnx.Dropout(0.3, rngs=rngs)

    def __call__(self, x):
        x = self.drop(nnx.relu(self.conv(x)))
        return self.fc(nnx.max_pool(x, (2, 2), strides=(2, 2)).mean((1, 2)))


def test_the_masks_of_synthetic_tensors_are_known_where_the_run_shows_none():
    report = parity.check(
        BehindAnActivation(), BehindAnActivationPort(), "2x3x6x6", mode="train", sizes="same"
    )
    assert report.verdict == "equivalent", report.summary()


def test_no_hook_is_left_behind():
    model = Functional()
    capture_torch(
        model, [torch.ones(2, 3, 4, 4).numpy()], mode="train", dtype="float32", seed=0, objective=None
    )
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
