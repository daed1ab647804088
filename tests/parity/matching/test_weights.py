"""Weights go over to Flax and come back bit-equal; every problem is reported at once."""

import dataclasses

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import nn

from parity.capture.kinds import CONVOLUTION, EMBEDDING, LINEAR, NORM, OTHER, TRANSPOSED
from parity.capture.owner import Owner, torch_owners
from parity.errors import WeightsError
from parity.matching.layouts import fitting
from parity.matching.weights import plan_weights

SIZES = st.integers(1, 5)


def owner(path, kind, leaves, trainable=None, **options):
    return Owner(path, kind, path.title(), leaves, tuple(leaves if trainable is None else trainable), options)


@hypothesis.given(
    st.sampled_from([CONVOLUTION, TRANSPOSED, LINEAR, NORM, EMBEDDING, OTHER]),
    st.lists(SIZES, min_size=2, max_size=3),
    st.integers(1, 3),
    st.booleans(),
)
def test_every_conversion_is_a_bijection(kind, kernel, groups, transpose_kernel):
    groups = groups if kind == TRANSPOSED and not transpose_kernel else 1
    shape = (
        (groups * 2, 3, *kernel) if kind in (CONVOLUTION, TRANSPOSED) else (4, 3) if kind == LINEAR else (5,)
    )
    weight = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    options = {"groups": groups, "transpose_kernel": transpose_kernel}
    for target in ((*kernel, 3, shape[0]), (*kernel, shape[0], 3), (*kernel, 2, 3 * groups), (3, 4), (5,)):
        for conversion in fitting(kind, "weight", shape, target, **options):
            carried = conversion.to_flax(weight)
            assert carried.shape == target
            np.testing.assert_array_equal(conversion.to_torch(carried), weight)


def test_axes_of_length_one_may_come_and_go():
    (scale,) = fitting(OTHER, "scale", (5, 1, 1), (5,), groups=1, transpose_kernel=False)
    weight = np.arange(5.0).reshape(5, 1, 1)
    np.testing.assert_array_equal(scale.to_flax(weight), np.arange(5.0))
    np.testing.assert_array_equal(scale.to_torch(scale.to_flax(weight)), weight)
    (dense, *_) = fitting(CONVOLUTION, "weight", (4, 3, 1, 1), (3, 4), groups=1, transpose_kernel=False)
    weight = np.random.default_rng(0).standard_normal((4, 3, 1, 1))
    np.testing.assert_array_equal(dense.to_flax(weight), weight[:, :, 0, 0].T)
    np.testing.assert_array_equal(dense.to_torch(dense.to_flax(weight)), weight)


def test_a_whole_model_goes_over_and_back_bit_equal():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 6, 2), nn.Flatten(), nn.Linear(6, 2)
    )
    torch_side = torch_owners(model, [])
    flax_side = [
        owner("Conv_0", CONVOLUTION, {"kernel": (3, 3, 3, 4), "bias": (4,)}),
        owner("Norm_0", NORM, {"scale": (4,), "bias": (4,), "mean": (4,), "var": (4,)}, ("scale", "bias")),
        owner("ConvTranspose_0", TRANSPOSED, {"kernel": (2, 2, 4, 6), "bias": (6,)}),
        owner("Dense_0", LINEAR, {"kernel": (6, 2), "bias": (2,)}),
    ]
    plan = plan_weights(torch_side, flax_side, {})
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    back = plan.to_torch(plan.to_flax(state))
    assert back.keys() == state.keys() - {"1.num_batches_tracked"}
    assert all(np.array_equal(back[name], state[name]) for name in back)
    assert plan.modules == {"0": "Conv_0", "1": "Norm_0", "2": "ConvTranspose_0", "4": "Dense_0"}


def test_every_problem_is_listed_at_once():
    torch_side = [
        owner("a", LINEAR, {"weight": (4, 3)}),
        owner("b", LINEAR, {"weight": (2, 4)}),
        owner("c", NORM, {"weight": (9,)}),
    ]
    flax_side = [
        owner("a", LINEAR, {"kernel": (3, 4)}),
        owner("b", LINEAR, {"kernel": (7, 7)}),
        owner("d", OTHER, {"x": (8,)}),
    ]
    with pytest.raises(WeightsError) as caught:
        plan_weights(torch_side, flax_side, {"ghost": "a"})
    for part in (
        "the map names 'ghost'",
        "'b.weight' [2, 4] does not fit 'b.kernel' [7, 7]",
        "PyTorch's C 'c' (weight [9]) has no partner",
        "Flax's D 'd' (x [8]) has no partner",
    ):
        assert part in str(caught.value)


def test_two_weights_of_one_shape_in_another_order_are_ambiguous():
    same = {"weight": (3, 3)}
    torch_side = [
        owner("first", LINEAR, same),
        owner("second", LINEAR, same),
        owner("norm", NORM, {"weight": (5,)}),
    ]
    kernel = {"kernel": (3, 3)}
    flax_side = [
        owner("norm_x", NORM, {"scale": (5,)}),
        owner("dense_0", LINEAR, kernel),
        owner("dense_1", LINEAR, kernel),
    ]
    with pytest.raises(
        WeightsError, match=r"'first' may be any of \['dense_0', 'dense_1'\].*'second' may be any"
    ):
        plan_weights(torch_side, flax_side, {})
    plan = plan_weights(torch_side, flax_side, {"first": "dense_1", "second": "dense_0"})
    assert plan.modules == {"first": "dense_1", "second": "dense_0", "norm": "norm_x"}


def test_a_square_weight_of_an_unknown_convention_is_a_stated_doubt():
    plan = plan_weights(
        [owner("a", LINEAR, {"weight": (3, 3)})], [owner("a", LINEAR, {"weight": (3, 3)})], {}
    )
    assert "fits with and without a transposition" in plan.doubts[0]
    plain = plan_weights(
        [owner("a", LINEAR, {"weight": (3, 3)})], [owner("a", LINEAR, {"kernel": (3, 3)})], {}
    )
    assert plain.doubts == ()


def test_names_that_agree_by_accident_do_not_override_the_order():
    torch_side = [
        owner("f.0", LINEAR, {"weight": (4, 3)}),
        owner("f.2", LINEAR, {"weight": (5, 4)}),
        owner("f.4", LINEAR, {"weight": (6, 5)}),
    ]
    flax_side = [
        owner("f.0", LINEAR, {"kernel": (3, 4)}),
        owner("f.1", LINEAR, {"kernel": (4, 5)}),
        owner("f.2", LINEAR, {"kernel": (5, 6)}),
    ]
    assert plan_weights(torch_side, flax_side, {}).modules == {"f.0": "f.0", "f.2": "f.1", "f.4": "f.2"}


def test_unmatched_and_untrained_arrays_are_told_apart():
    torch_side = [owner("a", LINEAR, {"weight": (4, 3), "bias": (4,)})]
    flax_side = [owner("a", LINEAR, {"kernel": (3, 4), "extra": (2,)})]
    plan = plan_weights(torch_side, flax_side, {})
    assert (plan.unmatched_torch, plan.unmatched_flax) == (("a.bias",), ("a.extra",))
    constant = dataclasses.replace(flax_side[0], trainable=("kernel",))
    assert plan_weights(torch_side, [constant], {}).unmatched_flax == ()


def test_shared_parameters_have_one_owner():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert [set(o.leaves) for o in torch_owners(model, [])] == [{"weight", "bias"}, {"bias"}]
    assert torch.equal(model[0].weight, model[1].weight)


def test_a_last_name_tells_where_the_order_does_not():
    torch_side = [owner(path, LINEAR, {"weight": (3, 3)}) for path in ("f.0.one", "f.0.two")]
    flax_side = [owner(path, LINEAR, {"kernel": (3, 3)}) for path in ("block.two", "block.one")]
    by_order = {"f.0.one": "block.two", "f.0.two": "block.one"}
    assert plan_weights(torch_side, flax_side, {}).modules == by_order
    # A module inside nnx.jit is not seen to be called.
    unseen = [dataclasses.replace(one, called=False) for one in flax_side]
    by_name = {"f.0.one": "block.one", "f.0.two": "block.two"}
    assert plan_weights(torch_side, unseen, {}).modules == by_name
