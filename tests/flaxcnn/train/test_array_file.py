"""The file of a checkpoint: what the format's own library reads, and that nothing damaged is taken for whole."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from flaxcnn.train import array_file
from flaxcnn.train.array_file import ArrayFileError

INFO = {"position": {"epoch": 3, "loss_sum": 0.1}, "best": [7], "word": "grün"}


def some_arrays():
    rng = np.random.default_rng(0)
    return {
        "params/conv1.weight": rng.normal(size=(3, 3, 1, 4)).astype(np.float32),
        "params/double": rng.normal(size=(5,)),
        "opt_state/count": np.asarray(12, np.int32),
        "key": np.asarray([1, 2**32 - 1], np.uint32),
        "empty": np.zeros((0, 3), np.float32),
        "flag": np.asarray([True, False, True]),
        "half": rng.normal(size=(3,)).astype(np.float16),
        "fortran": np.asfortranarray(rng.normal(size=(4, 5)).astype(np.float32)),
    }


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "some.safetensors"
    array_file.write(path, some_arrays(), INFO)
    return path


def test_the_formats_own_library_reads_it(written):
    found = load_file(written)
    assert found.keys() == some_arrays().keys()
    for name, array in some_arrays().items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    with safe_open(written, "np") as file:
        assert json.loads(file.metadata()["info"]) == INFO


def test_it_reads_back_what_was_written(written):
    found = array_file.read(written)
    for name, array in some_arrays().items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)
    assert array_file.read_info(written) == INFO
    assert array_file.read_shapes(written)["params/conv1.weight"] == "float32[3, 3, 1, 4]"
    assert array_file.holds(written, some_arrays(), INFO)
    assert not array_file.holds(written, some_arrays(), INFO | {"best": []})
    assert not array_file.holds(written, some_arrays() | {"key": np.asarray([1, 2], np.uint32)}, INFO)


def test_bfloat16_is_kept(tmp_path):
    array = np.asarray(jnp.arange(5, dtype=jnp.bfloat16))
    array_file.write(tmp_path / "b", {"x": array}, {})
    assert array_file.read(tmp_path / "b")["x"].tobytes() == array.tobytes()
    assert array_file.read_shapes(tmp_path / "b") == {"x": "bfloat16[5]"}


def test_no_changed_byte_and_no_missing_byte_goes_unnoticed(written):
    content = written.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 0x11
        written.write_bytes(bytes(changed))
        try:
            found, info = array_file.read(written), array_file.read_info(written)
        except ArrayFileError:
            continue
        # Spaces that fill the header up say nothing.
        assert content[place : place + 1] == b" ", place
        assert info == INFO
        assert all(found[name].tobytes() == array.tobytes() for name, array in some_arrays().items())
    for length in range(0, len(content), 7):
        written.write_bytes(content[:length])
        with pytest.raises(ArrayFileError):
            array_file.read(written)
