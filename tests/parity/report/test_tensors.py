"""The worst tensors of a run folder."""

import numpy as np
import pytest

from parity.capture.trace import save_arrays
from parity.errors import TraceError
from parity.report import tensors
from parity.verdict.record import TENSORS_FILE


def test_pairs_come_back_with_the_widest_gap_first(tmp_path):
    ones = np.ones((2, 3), np.float32)
    arrays = {}
    for key, gap in (("train/layer1.0/conv/output", 0.1), ("eval/fc/output cotangent", 0.3)):
        arrays |= {f"torch/{key}": ones, f"flax/{key}": ones + np.float32(gap)}
    save_arrays(tmp_path / TENSORS_FILE, arrays)
    first, second = tensors.load(tmp_path)
    assert (first.mode, first.layer, first.quantity) == ("eval", "fc", "output cotangent")
    assert second.layer == "layer1.0/conv", "a layer may be called with slashes"
    assert first.relative_gap == pytest.approx(0.3, rel=1e-6)


def test_a_folder_without_tensors_has_no_pictures(tmp_path):
    assert tensors.load(tmp_path) == []


@pytest.mark.parametrize("damage", ["cut", "unpaired", "shapes", "objects"])
def test_damaged_tensors_are_one_sentence(tmp_path, damage):
    path = tmp_path / TENSORS_FILE
    other = {"unpaired": {}, "objects": {"flax/eval/a/b": np.array([{}])}}.get(
        damage, {"flax/eval/a/b": np.ones(3)}
    )
    np.savez(path, **{"torch/eval/a/b": np.ones(2)}, **other)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(TraceError, match=r"tensors.npz is damaged .*run the check again"):
        tensors.load(tmp_path)
