"""Functions one by one: a difference is named, and defects that no other case caught are caught."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from experiments.instrument.mutation.find import all_mutants
from experiments.instrument.mutation.plant import planted
from parity.errors import CannotCompare
from parity.suites.layers.op_runs import Op, compare
from parity.suites.layers.single_ops import single_op_cases
from parity.suites.running import judged_directly, run_case

CASES = {case.name: case for case in single_op_cases()}
GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.standard_normal((2, 3, 4, 5)).astype(np.float32)
KERNEL = GENERATOR.standard_normal((6, 3, 1, 1)).astype(np.float32)


def pointwise(images, kernel):
    return jnp.einsum("nhwi,io->nhwo", images, kernel[0, 0])


def pulled_back(cotangent, images, kernel):
    images_gradient = jnp.einsum("nhwo,io->nhwi", cotangent, kernel[0, 0])
    return images_gradient, jnp.einsum("nhwi,nhwo->io", images, cotangent)[None, None]


def op(**changed):
    given = {
        "name": "pointwise",
        "given": {"images": IMAGES, "kernel": KERNEL},
        "torch": torch.nn.functional.conv2d,
        "flax": pointwise,
        "backward": pulled_back,
        "differentiated": ("images", "kernel"),
    }
    return Op(**given | changed)


def test_outputs_and_both_gradients_are_compared_in_pytorchs_layout():
    compared = compare([op()], np.random.default_rng(0))
    assert [tensor.quantity for tensor in compared] == [
        "output",
        "gradient of images",
        "gradient of kernel",
        "gradient of images by hand",
        "gradient of kernel by hand",
    ]
    assert [tensor.torch64.shape for tensor in compared] == [tensor.flax32.shape for tensor in compared]
    assert compared[2].torch64.shape == KERNEL.shape
    assert judged_directly(compared, None).verdict == "equivalent"


def test_a_rule_by_hand_that_is_wrong_is_told_by_the_name_of_its_function():
    wrong = op(backward=lambda *given: (2 * pulled_back(*given)[0], pulled_back(*given)[1]))
    report = judged_directly(compare([op(name="right"), wrong], np.random.default_rng(0)), None)
    assert report.verdict == "divergent"
    assert "first at pointwise (backward, gradient of images by hand" in report.summary()


def test_an_output_that_is_not_finite_is_refused_unless_it_is_not_shown():
    given = {"images": np.where(IMAGES > 0, IMAGES, -np.inf), "kernel": KERNEL}
    sides = {"torch": lambda images, kernel: images.amax(1), "flax": lambda images, kernel: images.max(3)}
    low = {"given": given, "differentiated": (), "backward": None} | sides
    with pytest.raises(CannotCompare, match="output is not finite"):
        compare([op(**low)], np.random.default_rng(0))
    assert compare([op(shown=False, **low)], np.random.default_rng(0)) == []


# Mutants that no case of the suites caught before these did.
SURVIVED = {
    ("flaxcnn/ops/average_pooling.py", "avg_pool2d", "True -> False"): "defaults-02",
    ("flaxcnn/ops/cross_entropy.py", "cross_entropy_backward", "100 -> 101"): "defaults-04",
    ("flaxcnn/ops/max_pooling.py", "_takeovers", "- -> +"): "corners-01",
    ("flaxcnn/ops/dropout.py", "dropout_mask", ">= -> >"): "corners-03",
    ("flaxcnn/ops/cpu/bilinear.py", "_primitive", "is not -> is"): "corners-05",
    ("flaxcnn/ops/cpu/strided.py", "_phase", "zeros -> ones"): "parts-02",
    ("flaxcnn/models/blocks.py", "", "64 -> 65"): "blocks-02",
}


@pytest.mark.drawn
@pytest.mark.parametrize("change", SURVIVED, ids=lambda change: f"{change[1]} {change[2]}")
def test_a_defect_that_had_survived_turns_a_case_red(change):
    mutant = next(m for m in all_mutants() if (m.file, m.function, m.what) == change)
    with planted(mutant):
        try:
            result = run_case(CASES[SURVIVED[change]]).result
        except (TypeError, IndexError):
            # The mutant called a function with wrong shapes.
            result = "raised"
    assert result != "equivalent"
