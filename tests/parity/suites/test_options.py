"""The generated options: the same in every run, and none forgotten."""

import pytest

from parity.suites import options
from parity.suites.layers.cases import LAYERS


def drawn(layer):
    return options.draw_options(layer, LAYERS[layer][0])


@pytest.mark.parametrize("layer", LAYERS)
def test_the_same_in_every_run_and_all_different(layer):
    cases = drawn(layer)
    assert cases == drawn(layer)
    assert len(cases) == 24
    assert all(cases.count(case) == 1 for case in cases)
    assert sum(case["by_hand"] for case in cases) == 12 or layer == "dropout"


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [
        ("conv", {"stride": 3, "padding": 2, "dilation": 2, "groups": 4, "bias": False}),
        ("max_pool", {"ceil_mode": True, "ties": True, "stride": None, "dilation": 2}),
        ("avg_pool", {"ceil_mode": True, "count_include_pad": False, "stride": None}),
        (
            "batch_norm",
            {"momentum": options.CUMULATIVE, "biased_running_variance": True, "affine": False, "mask": True},
        ),
        ("batch_norm", {"image": None}),
        ("dense", {"bias": False, "outputs": 1}),
        ("dropout", {"kind": "eval"}),
        ("dropout", {"kind": "train at rate 0"}),
        ("dropout", {"kind": "given mask"}),
        ("dropout", {"kind": "drawn mask"}),
        ("relu", {"zeros": 0.5}),
        ("cross_entropy", {"distributions": True, "label_smoothing": 0.1, "class_weights": True}),
        ("cross_entropy", {"reduction": "none", "ignore_index": 1, "mask": True}),
        ("cross_entropy", {"reduction": "sum", "ignore_index": None, "mask": False}),
        ("penalty", {"norm": 1}),
        ("penalty", {"norm": 2}),
    ],
)
def test_every_option_occurs(layer, wanted):
    cases = drawn(layer)
    for name, value in wanted.items():
        assert any(case[name] == value for case in cases), f"{name}={value}"


@pytest.mark.parametrize("layer", ["conv", "max_pool", "avg_pool"])
def test_padding_differs_from_side_to_side_in_some_cases(layer):
    sides = [case["padding"] for case in drawn(layer) if isinstance(case["padding"], tuple)]
    assert any(isinstance(pad[0], tuple) and pad[0][0] != pad[0][1] for pad in sides)


def test_a_depthwise_convolution_occurs_with_more_outputs_than_inputs():
    assert any(case["groups"] == 4 and case["outputs"] == 8 for case in drawn("conv"))


def test_in_words_leaves_out_what_is_off():
    assert (
        options.in_words({"kernel": 3, "ceil_mode": True, "bias": False, "stride": None})
        == "kernel 3, ceil mode"
    )
