"""A shrunken network is the masked one, for every kind of the registry, in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn import models
from flaxcnn.compress.groups import structure
from flaxcnn.compress.ranking import CRITERIA, scores
from flaxcnn.compress.shrink import choose, masked, shrink
from flaxcnn.errors import InvalidArgument
from flaxcnn.functional import functional
from flaxcnn.models.resized import resized

from .networks import KINDS, built, outputs, plain


def _compare(name, **choice):
    model, parts, shape = built(name)
    found = structure(parts, shape)
    draw = np.random.default_rng(1)
    removed = choose(found, draw.uniform(size=len(scores(found, parts.params))), **choice)
    small = shrink(found, parts.params, parts.state, removed)
    copy = plain(functional(resized(model, small.architecture)))
    assert {
        key: value.shape for key, value in (copy.params | copy.state).items()
    } == small.architecture.shapes
    images = jnp.asarray(draw.normal(size=(3, *shape)))
    whole = outputs(parts._replace(params=masked(found, parts.params, removed)), images)
    less = outputs(copy._replace(params=small.params, state=small.state), images)
    for a, b in zip(whole, less, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-12 * np.abs(a).max())
    # The mask did something: else any two networks would be equal here.
    assert np.abs(whole[0] - outputs(parts, images)[0]).max() > 1e-3 * np.abs(whole[0]).max()
    return found, small, parts


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_masked_and_shrunken_networks_are_equal(x64, name):
    found, small, parts = _compare(name, ratio=0.4, ranking="global")
    assert len(small.removed) == int(0.4 * sum(len(group.units) for group in found.groups))
    sizes = {key: value.size for key, value in small.params.items()}
    assert sum(sizes.values()) < 0.9 * sum(value.size for value in parts.params.values())


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [f"registry: {name}" for name in models.names()])
def test_masked_and_shrunken_networks_are_equal_over_the_registry(x64, name):
    _compare(name, ratio=0.4, ranking="global")


def test_a_grouped_convolution_loses_whole_groups(x64):
    _, parts, shape = built("grouped")
    found = structure(parts, shape)
    group = next(group for group in found.groups if group.name == "layer1.0.conv1")
    small = shrink(found, parts.params, parts.state, group.units[1:2])
    # Four groups of two channels: the second goes.
    np.testing.assert_array_equal(
        small.params["layer1.0.conv2.weight"],
        np.delete(parts.params["layer1.0.conv2.weight"], [2, 3], axis=3),
    )
    assert small.architecture.groups["layer1.0.conv2"] == 3


def test_the_stream_of_a_network_with_shortcut_a_is_found():
    """Stage 2 gets the 3 channels of stage 1 and 3 of its own; written down by hand from He et al. 2015."""
    _, parts, shape = built("shortcut A")
    units = structure(parts, shape).units
    first = units["conv1.weight", 3]
    np.testing.assert_array_equal(units["layer1.0.conv2.weight", 3], first)
    np.testing.assert_array_equal(units["layer2.0.conv1.weight", 2], first)
    np.testing.assert_array_equal(units["layer2.0.conv2.weight", 3][:3], first)
    assert not set(units["layer2.0.conv2.weight", 3][3:]) & set(first)
    np.testing.assert_array_equal(units["layer2.0.bn2.bias", 0], units["layer2.0.conv2.weight", 3])
    np.testing.assert_array_equal(units["fc.weight", 0], units["layer2.0.conv2.weight", 3])
    assert ("conv1.weight", 2) not in units  # colours
    assert ("fc.weight", 1) not in units  # classes
    assert not any(axis < 2 and name.endswith("conv1.weight") for name, axis in units)  # rows, columns


def test_a_flatten_takes_every_pixel_of_a_channel(x64):
    _, parts, shape = built("cnn")
    found = structure(parts, shape)
    unit = found.units["conv2.weight", 3][1]
    # PyTorch's order: channel, row, column; 2 x 2 pixels are left of 8 x 8.
    np.testing.assert_array_equal(np.flatnonzero(found.units["fc1.weight", 0] == unit), [4, 5, 6, 7])


def test_scores_are_what_numpy_says(x64):
    _, parts, shape = built("cnn")
    found = structure(parts, shape)
    params = {name: np.asarray(value) for name, value in parts.params.items()}
    group = next(group for group in found.groups if group.name == "conv1")
    out, into = params["conv1.weight"], params["conv2.weight"]
    expected = {
        "l1": [np.abs(out[..., c]).sum() + np.abs(into[:, :, c]).sum() for c in range(5)],
        "l2": [np.sqrt((out[..., c] ** 2).sum() + (into[:, :, c] ** 2).sum()) for c in range(5)],
        "scale": np.abs(params["bn1.weight"]),
    }
    products = {name: jnp.asarray(np.abs(value * 0.5)) for name, value in params.items()}
    vectors = [params[f"{name}"] for name in ("conv1.bias", "bn1.weight", "bn1.bias")]
    expected["taylor"] = np.asarray(expected["l1"]) + sum(np.abs(vector) for vector in vectors)
    for criterion in CRITERIA:
        given = {"products": products} if criterion == "taylor" else {}
        found_scores = scores(found, parts.params, criterion, **given)[list(group.units)]
        wanted = np.asarray(expected[criterion])
        np.testing.assert_allclose(found_scores, wanted / wanted.mean(), rtol=1e-12)


def test_a_factor_of_flops_is_reached_and_not_passed_by_more_than_a_channel(x64):
    _, parts, shape = built("cnn")
    found = structure(parts, shape)
    for ranking in ("uniform", "global"):
        order = scores(found, parts.params)
        removed = choose(found, order, flops=2.0, ranking=ranking)
        assert found.flops() / found.flops(removed) >= 2.0
        fewer = [set(removed) - {unit} for unit in removed]
        assert any(found.flops() / found.flops(part) < 2.0 for part in fewer)
    # By hand: 3x3 kernels on 64 and 16 pixels, two dense layers.
    assert found.flops() == 2 * (64 * 9 * 5 + 16 * 9 * 5 * 4 + 16 * 6 + 6 * 10)


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"ratio": 1.0}, "would leave the layer conv1 without channels"),
        ({"ratio": 1.0, "ranking": "global"}, "without channels"),
        ({"ratio": -0.1}, "expected a share"),
        ({"flops": 1e6}, "with one channel left in every layer"),
        ({"flops": 1.0}, "expected a factor above 1"),
        ({}, "either ratio or flops"),
        ({"ratio": 0.5, "ranking": "all"}, "expected uniform or global"),
    ],
)
def test_choices_that_cannot_be_made_are_one_sentence(choice, sentence):
    _, parts, shape = built("cnn")
    found = structure(parts, shape)
    with pytest.raises(InvalidArgument, match=sentence):
        choose(found, scores(found, parts.params), **choice)
