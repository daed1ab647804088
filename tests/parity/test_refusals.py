"""Models and inputs that cannot be compared are refused in one clear sentence."""

import re
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import torch
from flax import errors, linen, nnx
from parity_models import NnxSmall, TorchSmall
from torch import nn

import parity
from parity.errors import OutputsDiffer


class NnxLinear(nnx.Module):
    def __init__(self, out=2):
        self.fc = nnx.Linear(3, out, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.fc(x)


class TorchLinear(nn.Module):
    def __init__(self, after=lambda y: y):
        super().__init__()
        self.fc, self.after = nn.Linear(3, 2), after

    def forward(self, x):
        return self.after(self.fc(x))


def refused(sentence, *arguments, **options):
    with pytest.raises(parity.CannotCompare, match=sentence) as caught:
        parity.check(*arguments, mode=options.pop("mode", "eval"), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_wrong_input_shape_names_the_module():
    refused(r"PyTorch model raised RuntimeError in the module 'fc'", TorchLinear(), NnxLinear(), "2x4")


class LinenThatExpectsNoChannels(linen.Module):
    divisor: int = 0

    @linen.compact
    def __call__(self, x):
        if self.divisor == 0:
            x = x.reshape(x.size // self.divisor, -1)
        elif self.divisor == 1:
            raise errors.ScopeParamNotFoundError("kernel", "fc")
        return linen.Dense(2, name="fc")(x)


@pytest.mark.parametrize(("divisor", "error"), [(0, "ZeroDivisionError"), (1, "ScopeParamNotFoundError")])
def test_a_linen_module_that_raises_while_it_is_initialised(divisor, error):
    refused(rf"Flax model raised {error}.*shape", TorchLinear(), LinenThatExpectsNoChannels(divisor), "2x3")


class NnxDropoutWithoutRandomNumbers(NnxLinear):
    def __init__(self):
        super().__init__()
        self.dropout = nnx.Dropout(0.5)

    def __call__(self, x, training=False):
        return self.dropout(super().__call__(x), deterministic=not training)


def test_a_dropout_that_was_built_without_random_numbers():
    sentence = r"raised ValueError in the module 'dropout'.*rngs.* give the module random numbers"
    refused(sentence, TorchLinear(nn.Dropout(0.5)), NnxDropoutWithoutRandomNumbers(), "2x3", mode="train")


def test_an_input_that_is_neither_shape_nor_file():
    refused(r"'2xthree' is neither a shape such as 4x3x64x64", TorchLinear(), NnxLinear(), "2xthree")
    refused(r"absent.npy does not exist", TorchLinear(), NnxLinear(), "absent.npy")
    refused(r"holds NaN", TorchLinear(), NnxLinear(), np.full((2, 3), np.nan))


def test_an_input_file_that_is_damaged(tmp_path):
    path = tmp_path / "x.npy"
    path.write_bytes(b"not numpy")
    refused(r"is not a readable .npy or .npz file", TorchLinear(), NnxLinear(), str(path))


def test_an_unknown_mode_objective_and_flax_object():
    refused(r"mode 'fast' is unknown", TorchLinear(), NnxLinear(), "2x3", mode="fast")
    refused(r"objective 'hinge' is unknown", TorchLinear(), NnxLinear(), "2x3", objective="hinge")
    refused(r"Flax side is a function", TorchLinear(), lambda x: x, "2x3")


def test_different_output_shapes():
    model = TorchLinear(after=lambda y: y.sum(1))
    refused(
        r"different outputs: shapes \[\[2\]\] in PyTorch and \[\[2, 2\]\] in Flax", model, NnxLinear(), "2x3"
    )


def test_a_loss_of_each_example_is_told_from_their_mean():
    class LossOfEachExample(NnxLinear):
        def __call__(self, x):
            return super().__call__(x).sum(1)

    with pytest.raises(OutputsDiffer, match="reduce the loss of each example to one number") as caught:
        parity.check(TorchLinear(after=lambda y: y.sum()), LossOfEachExample(), "2x3", mode="eval")
    assert caught.value.cause == "loss-reduction"


def test_unfit_weights_are_listed_all_at_once():
    with pytest.raises(parity.WeightsError) as caught:
        parity.check(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), NnxLinear(), "2x3", mode="eval")
    message = str(caught.value)
    assert len(re.findall("has no partner", message)) == 3


def test_nan_inside_a_model_names_the_layer():
    model = TorchSmall()
    with torch.no_grad():
        model.conv2.weight[0, 0, 0, 0] = float("nan")
    refused(r"PyTorch model produces NaN.* first in the layer 'conv2'", model, NnxSmall(), "2x3x8x8")


class Pinned(nn.Module):
    """Its matrix is no parameter, so that nothing puts it into float64."""

    def __init__(self):
        super().__init__()
        self.fc, self.matrix = nn.Linear(3, 3), torch.eye(3)

    def forward(self, x):
        return torch.mm(self.fc(x), self.matrix)


def test_a_dtype_pinned_inside_the_torch_model_is_named():
    model = nn.Sequential(nn.Linear(3, 3), Pinned())

    class Twin(nnx.Module):
        def __init__(self):
            self.a, self.b = nnx.Linear(3, 3, rngs=nnx.Rngs(0)), nnx.Linear(3, 3, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.b(self.a(x))

    refused(r"cannot be run in float64: in the module '1' a dtype is pinned", model, Twin(), "2x3")


def test_control_flow_that_differs_between_identical_runs():
    class Fickle(TorchLinear):
        runs = 0

        def forward(self, x):
            Fickle.runs += 1
            return self.fc(self.fc(x)[:, :1].expand(-1, 3)) if Fickle.runs % 2 else self.fc(x)

    refused(r"make its control flow deterministic", Fickle(), NnxLinear(), "2x3")


def test_a_model_that_compiles_a_part_of_itself_is_taken_through():
    class Jitted(nnx.Module):
        def __init__(self):
            self.fc = nnx.Linear(3, 2, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return jax.jit(self.fc.__call__)(x)

    assert parity.check(TorchLinear(), Jitted(), "2x3", mode="eval").verdict == "equivalent"


def test_a_comparison_too_large_for_memory_gives_an_estimate(monkeypatch):
    monkeypatch.setattr("parity.capture.reference._IN_MEMORY", 0)
    monkeypatch.setattr("parity.capture.reference.available_memory", lambda: 100)
    refused(r"needs about 0.0 GiB of memory", TorchLinear(), NnxLinear(), "2x3")


def test_a_comparison_too_large_for_the_disk_gives_an_estimate(monkeypatch):
    monkeypatch.setattr("parity.capture.reference._IN_MEMORY", 0)
    monkeypatch.setattr(
        "parity.capture.reference.shutil.disk_usage", lambda folder: SimpleNamespace(free=100)
    )
    refused(r"needs about 0.0 GiB of room for temporary files", TorchLinear(), NnxLinear(), "2x3")


def test_a_map_that_is_wrong():
    refused(r"JSON object of strings", TorchLinear(), NnxLinear(), "2x3", map={"fc": 3})
    refused(
        r"names 'head', which holds no weight in PyTorch",
        TorchLinear(),
        NnxLinear(),
        "2x3",
        map={"head": "fc"},
    )


@pytest.mark.parametrize("damage", ["absent", "text", "version"])
def test_a_damaged_or_old_run_folder(tmp_path, damage):
    if damage == "text":
        (tmp_path / "measurements.json").write_text("{")
    if damage == "version":
        (tmp_path / "measurements.json").write_text('{"version": 0}')
    with pytest.raises(
        parity.TraceError, match=r"measurements.json .*(does not exist|damaged|format version 0)"
    ):
        parity.Measurements.load(tmp_path)
    with pytest.raises(parity.TraceError, match=r"does not exist"):
        parity.check(tmp_path, NnxLinear(), mode="eval")


def test_a_truncated_capture(tmp_path):
    parity.capture_reference(TorchLinear(), "2x3", tmp_path, mode="eval")
    path = tmp_path / "eval-float64" / "arrays.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(parity.TraceError, match=r"arrays.npz is damaged"):
        parity.check(tmp_path, NnxLinear(), mode="eval")
    with pytest.raises(parity.CannotCompare, match=r"train mode is missing"):
        parity.check(tmp_path, NnxLinear(), mode="train")
