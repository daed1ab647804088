"""Traces on disk, trees of tensors, paths, layouts of activations."""

import collections
import dataclasses

import numpy as np
import pytest

from parity.capture.shelf import Arrays
from parity.capture.trace import Call, Trace
from parity.capture.trees import list_tensors, map_tensors
from parity.errors import TraceError
from parity.matching.axes import fits, to_flax, to_torch
from parity.matching.names import path_tokens

Pair = collections.namedtuple("Pair", "left right")


def is_array(value):
    return isinstance(value, np.ndarray)


def trace():
    call = Call("fc", 0, "linear", "Linear", "model.py:3", 1, 1, 0, False)
    arrays = {"fc#0/output/0": np.arange(6.0).reshape(2, 3), "gradient/fc.weight": np.ones(3, np.float32)}
    return Trace("torch", "eval", "float64", (call,), Arrays(arrays))


def test_a_trace_survives_the_disk(tmp_path):
    saved = trace()
    saved.save(tmp_path)
    loaded = Trace.load(tmp_path)
    assert loaded.calls == saved.calls
    np.testing.assert_array_equal(loaded.get(saved.calls[0], "output"), np.arange(6.0).reshape(2, 3))
    assert loaded.arrays["gradient/fc.weight"].dtype == np.float32
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays.npz", "trace.json"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("trace.json", b"{", "damaged"),
        ("trace.json", b'{"version": 99}', "format version 99"),
        ("trace.json", b'{"version": 2, "arrays": []}', "damaged"),
        ("arrays.npz", b"PK", "damaged"),
    ],
)
def test_a_damaged_trace_is_refused(tmp_path, name, content, sentence):
    trace().save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TraceError, match=sentence):
        Trace.load(tmp_path)


def test_tensors_are_found_in_any_container_in_one_order():
    a, b, c = np.zeros(1), np.ones(1), np.full(1, 2.0)
    tree = {"z": (a, None), "m": Pair(b, [c, "text"])}
    assert [path for path, _ in list_tensors(tree, is_array)] == ["m/0", "m/1/0", "z/0"]
    doubled = map_tensors(tree, is_array, lambda path, tensor: 2 * tensor)
    assert list(doubled) == ["z", "m"]
    assert isinstance(doubled["m"], Pair)
    assert doubled["m"].right[0] == [4.0]
    assert tree["m"].right[0] == [2.0]
    ordered = map_tensors(collections.OrderedDict(b=b, a=a), is_array, lambda path, tensor: tensor)
    assert (type(ordered), list(ordered)) == (collections.OrderedDict, ["b", "a"])


@pytest.mark.parametrize("path", ["layer1.0.conv", "layer1_0.conv", "layer1/0/conv", "layer1.layers.0.conv"])
def test_paths_are_one_path_in_every_framework(path):
    assert path_tokens(path) == ("layer1", "0", "conv")


def test_activations_move_their_channels_only_where_the_shapes_say_so():
    x = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    np.testing.assert_array_equal(to_torch(to_flax(x, (2, 4, 5, 3), False), x.shape, False), x)
    assert to_flax(x, (2, 3, 4, 5), False) is x
    cube = np.arange(2 * 3 * 3 * 3).reshape(2, 3, 3, 3)
    np.testing.assert_array_equal(to_flax(cube, cube.shape, False), np.moveaxis(cube, 1, -1))
    assert to_flax(cube, cube.shape, True) is cube
    sequence = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    assert to_flax(sequence, sequence.shape, False) is sequence
    assert fits((2, 3, 4, 5), (2, 4, 5, 3))
    assert not fits((2, 3, 4, 5), (2, 5, 4, 3))


@dataclasses.dataclass(frozen=True)
class _FrozenMapping(collections.OrderedDict):
    """A mapping of its own fields that are set, as transformers' Flax outputs are."""

    logits: np.ndarray | None = None
    hidden: np.ndarray | None = None

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if getattr(self, field.name) is not None:
                self[field.name] = getattr(self, field.name)


def test_a_frozen_dataclass_that_is_a_mapping_is_rebuilt_as_one():
    doubled = map_tensors(_FrozenMapping(logits=np.ones(2)), is_array, lambda _, tensor: 2 * tensor)
    assert type(doubled) is _FrozenMapping
    assert list(doubled) == ["logits"]
    assert (doubled.logits.tolist(), doubled["logits"].tolist(), doubled.hidden) == ([2, 2], [2, 2], None)
