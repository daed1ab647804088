"""Defects of the instrument that its own use brought to light; each stays fixed."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from torch import nn
from torchvision.models.convnext import LayerNorm2d

import parity
from flaxcnn import models
from parity import assert_equivalent, check
from parity.capture.reference import _differ
from parity.capture.trace import save_arrays
from parity.files import write_json
from parity.suites.models import twins


class TorchLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x).square().mean()


class NnxLoss(nnx.Module):
    def __init__(self):
        self.fc = nnx.Linear(3, 2, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return jnp.mean(jnp.square(self.fc(x)))


def test_a_model_that_returns_a_scalar_is_compared(tmp_path):
    """Found by `parity suite cross_entropy`: a loss was refused ("expected np.ndarray (got numpy.float32)")."""
    report = parity.check(TorchLoss(), NnxLoss(), "4x3", mode="eval", out=tmp_path)
    assert report.verdict == "equivalent"


class TorchLastAxis(nn.Module):
    """A convolution, then a norm of the channels, which stand last or second; all sides are of one length."""

    def __init__(self, norm):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), norm

    def forward(self, x):
        x = self.conv(x)
        if type(self.norm) is nn.LayerNorm:
            return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.norm(x)


class NnxLastAxis(nnx.Module):
    def __init__(self):
        self.conv = nnx.Conv(3, 4, (3, 3), padding=1, rngs=nnx.Rngs(0))
        self.norm = nnx.LayerNorm(4, epsilon=1e-5, use_fast_variance=False, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.norm(self.conv(x))


@pytest.mark.parametrize("norm", [nn.LayerNorm, LayerNorm2d])
def test_a_norm_of_the_last_axis_is_compared_as_it_stands_where_all_axes_are_of_one_length(norm):
    """Found by the clean pairs of `parity defects`: PyTorch's [n, h, w, c] was taken for [n, c, h, w]."""
    report = parity.check(TorchLastAxis(norm(4)), NnxLastAxis(), "3x3x4x4", mode="eval")
    assert report.verdict == "equivalent", report.summary()


def test_files_of_a_run_have_the_permissions_of_the_users_other_files(tmp_path):
    """`mkstemp` made report.json readable by nobody else."""
    (tmp_path / "plain").write_text("")
    write_json(tmp_path / "record.json", {"a": 1.0})
    save_arrays(tmp_path / "arrays.npz", {"a": np.zeros(2)})
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays.npz", "plain", "record.json"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    write_json(tmp_path / "record.json", {"a": 1.0})
    with pytest.raises(TypeError):
        write_json(tmp_path / "record.json", {"a": object()})
    assert json.loads((tmp_path / "record.json").read_text()) == {"a": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    ("change", "differ"), [(0.0, False), (2e-6, False), (1e-2, True), (float("nan"), True)]
)
def test_another_order_of_a_sum_is_not_called_non_deterministic(change, differ):
    """A batch norm of resnet18 was, when other work on the machine changed how its sum was split over threads."""
    a = np.linspace(-1, 1, 50).astype(np.float32)
    b = a.copy()
    b[7] += change
    assert _differ(a, b) is differ


@pytest.mark.slow
def test_the_objectives_own_cotangent_is_not_shown_as_a_gap(tmp_path):
    """Both models get it, but it is recorded on PyTorch's side only: its heat map came first."""
    flax, twin = models.cnn(image_size=4, channels=(2, 3), hidden=4, dropout=0.0), twins.CNN(
        image_size=(4, 4), channels=(2, 3), hidden=4, dropout=0.0
    )  # fmt: skip
    check(twin, flax, "3x1x4x4", mode="eval", out=tmp_path)
    with np.load(tmp_path / "tensors.npz") as arrays:
        names = [name for name in arrays.files if name.startswith("torch/")]
        assert names
        for name in names:
            a, b = arrays[name], arrays["flax/" + name.removeprefix("torch/")]
            assert np.abs(a - b).max() <= 1e-12 * np.abs(a).max(), name


@pytest.mark.slow
def test_assert_equivalent_says_where_and_what():
    flax = models.cnn(image_size=4, channels=(2, 3), hidden=4, dropout=0.0, batch_norm=True)
    twin = twins.CNN(image_size=(4, 4), channels=(2, 3), hidden=4, dropout=0.0, batch_norm=True)
    twin.bn2.eps = 1e-3
    with pytest.raises(AssertionError) as caught:
        assert_equivalent(twin, flax, "3x1x4x4", mode="eval")
    assert "divergent: first at bn2" in str(caught.value)
    assert "BatchNorm2d" in str(caught.value)
