"""Arrays on a shelf, and a comparison that keeps its own there."""

import gc
import os

import numpy as np
import pytest
import torch
from flax import nnx

import parity
from parity.capture import shelf as shelves
from parity.capture.shelf import Arrays, Lazy, Shelf, identity, loaded


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(shelves, "_SMALL", 16)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
@pytest.mark.parametrize("view", ["whole", "transposed", "strided", "reversed", "empty"])
def test_what_is_put_comes_back(dtype, view):
    whole = np.random.default_rng(0).integers(0, 2, (6, 5, 4)).astype(dtype)
    views = {
        "whole": whole,
        "transposed": whole.T,
        "strided": whole[::2, 1:],
        "reversed": whole[::-1],
        "empty": whole[:0],
    }
    array = views[view]
    found = loaded(Shelf().put(array))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_what_lies_on_a_shelf_is_read_again_once_nobody_holds_it():
    shelf = Shelf()
    expected = np.arange(100.0)
    kept = shelf.put(expected.copy())
    gc.collect()
    first = kept.load()
    np.testing.assert_array_equal(first, expected)
    assert kept.load() is first
    other = shelf.put(np.zeros(100))
    np.testing.assert_array_equal(other.load(), np.zeros(100))


def test_an_array_recorded_twice_is_written_once():
    shelf, array = Shelf(), np.arange(100.0)
    assert shelf.put(array) is shelf.put(array)
    assert os.fstat(shelf._file.fileno()).st_size == array.nbytes
    assert identity(shelf.put(array)) != identity(shelf.put(array.copy()))


def test_zeros_without_memory_and_small_arrays_stay_in_memory():
    shelf = Shelf()
    for array in (np.broadcast_to(np.zeros(()), (100, 100)), np.zeros(1)):
        assert shelf.put(array) is array


def test_arrays_are_a_mapping_that_reads():
    arrays = Arrays(shelf=Shelf())
    arrays["a"] = np.arange(100.0)
    assert isinstance(arrays.lazily("a"), Lazy)
    assert arrays.lazily("b") is None
    assert arrays.nbytes() == 800
    np.testing.assert_array_equal(arrays["a"], np.arange(100.0))
    assert arrays.shapes_only()["a"].shape == (100,)
    del arrays["a"]
    assert list(arrays) == []


class TorchNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.fc = torch.nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        return self.fc(x.mean((2, 3)))


class FlaxNet(nnx.Module):
    def __init__(self, momentum=0.9):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=momentum, epsilon=1e-5, rngs=rngs)
        self.fc = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv(x)))
        return self.fc(x.mean((1, 2)))


def test_a_comparison_on_disk_finds_what_one_in_memory_finds(monkeypatch):
    model = TorchNet()
    in_memory = parity.check(model, FlaxNet(0.5), "4x3x8x8")
    puts = []
    put = Shelf.put
    monkeypatch.setattr(Shelf, "put", lambda self, array: puts.append(found := put(self, array)) or found)
    monkeypatch.setattr("parity.capture.reference._IN_MEMORY", 0)
    on_disk = parity.check(model, FlaxNet(0.5), "4x3x8x8")
    assert sum(isinstance(found, Lazy) for found in puts) > 50
    assert on_disk.verdict == "divergent"
    assert on_disk.causes
    assert on_disk.causes == in_memory.causes
    assert on_disk.layers == in_memory.layers


def test_a_shared_parameter_has_the_sum_of_its_gradients():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(4, 4)

        def forward(self, x):
            for _ in range(2):
                x = torch.utils.checkpoint.checkpoint(self.fc, x, use_reentrant=True)
            return x

    from parity.capture.torch import capture_torch

    torch.manual_seed(0)
    model = Twice().double()
    x = np.random.default_rng(0).standard_normal((3, 4))
    expected = torch.autograd.grad(model.fc(model.fc(torch.from_numpy(x))).square().sum(), model.fc.weight)[
        0
    ].numpy()
    trace = capture_torch(
        model, [x], mode="train", dtype="float64", seed=0, objective=lambda outputs: outputs[0].square().sum()
    )
    np.testing.assert_allclose(trace.arrays["gradient/fc.weight"], expected, rtol=1e-12)
