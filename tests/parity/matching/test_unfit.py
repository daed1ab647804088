"""Weights that do not fit are told in a sentence that can be read, however many there are."""

from parity.capture.owner import Owner
from parity.matching.unfit import told


def layers(count, extra=None, classes="Conv2d"):
    owners = [
        Owner(f"block.{i}", "convolution", classes, {"weight": (8, 8, 3, 3)}, ("weight",), {})
        for i in range(count)
    ]
    if extra is not None:
        owners.insert(extra, Owner("extra", "norm", "BatchNorm2d", {"weight": (8,)}, ("weight",), {}))
    return owners


def test_few_problems_are_listed():
    assert (
        told(["a has no partner", "b has no partner"], layers(2), layers(2))
        == "a has no partner; b has no partner"
    )


def test_many_problems_are_counted_and_the_first_difference_is_named():
    problems = [f"block.{i} has no partner" for i in range(20)]
    sentence = told(problems, layers(20, extra=3), layers(20))
    assert sentence.startswith("PyTorch has 21 layers with weights and Flax 20; they first part at layer 4: ")
    assert (
        "BatchNorm2d 'extra' (weight [8]) in PyTorch, Conv2d 'block.3' (weight [8, 8, 3, 3]) in Flax"
        in sentence
    )
    assert sentence.endswith(
        "block.0 has no partner; block.1 has no partner; and 18 more problems like these"
    )


def test_a_side_that_goes_on_alone_is_named():
    sentence = told(["p"] * 5, layers(2), layers(4))
    assert "from the layer 3 on only Flax has any, first Conv2d 'block.2'" in sentence
