"""The registry against torchvision: names, shapes, counts, initial statistics, logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torchvision
from flax import nnx

from flaxcnn import models, weights
from flaxcnn.functional import functional
from flaxcnn.models import overview

BUILDERS = [
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
]


def torchvision_shapes(name):
    """The shapes of the torchvision model's parameters, built on the meta device, which allocates nothing."""
    with torch.device("meta"):
        model = getattr(torchvision.models, name)()
    return {key: tuple(value.shape) for key, value in model.named_parameters()}


DEEP = ("resnet101", "resnet152", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet101_2")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in DEEP else name for name in BUILDERS]
)
def test_parameter_names_shapes_and_count_are_torchvisions(name):
    flax = overview.shapes(name)
    expected = torchvision_shapes(name)
    assert flax.keys() == expected.keys()
    for key, value in flax.items():
        array = np.empty(value.shape, np.int8)
        assert weights.LAYOUTS[array.ndim].to_torch(array).shape == expected[key], key
    assert sum(value.size for value in flax.values()) == sum(np.prod(shape) for shape in expected.values())


def test_state_names_are_torchvisions():
    flax = functional(models.resnet18())
    assert flax.params.keys() | flax.state.keys() == torchvision.models.resnet18().state_dict().keys()


def interval_of_std(std, count, kurtosis):
    """`std`, estimated from `count` draws, plus and minus six standard errors: a false alarm in 1e-8."""
    error = std * np.sqrt((kurtosis - 1) / (4 * count))
    return std - 6 * error, std + 6 * error


@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnext50_32x4d", marks=pytest.mark.drawn)])
def test_initialisation_statistics_are_torchvisions(name):
    torch.manual_seed(0)
    state_dict = getattr(torchvision.models, name)().state_dict()
    params = functional(models.create(name, seed=1)).params
    for key, value in params.items():
        flax, expected = np.asarray(value, np.float64), state_dict[key].numpy().astype(np.float64)
        if value.ndim == 1 and not key.startswith("fc"):
            assert np.unique(flax) == np.unique(expected), key  # scales are one, biases are zero
            continue
        # Both are estimates from the same number of draws, so the error of their difference is sqrt(2) as large.
        kurtosis = 3.0 if value.ndim == 4 else 1.8
        low, high = interval_of_std(expected.std(), value.size / 2, kurtosis)
        assert low < flax.std() < high, key
        assert abs(flax.mean() - expected.mean()) < 6 * flax.std() * np.sqrt(2 / value.size), key
        if value.ndim != 4:  # uniform: no draw lies beyond the bound
            assert np.abs(flax).max() <= 1 / np.sqrt(params["fc.weight"].shape[0])


def test_default_layers_draw_as_torch_does():
    """The weights and biases of a convolution and of a dense layer are uniform with PyTorch's bound."""
    torch.manual_seed(0)
    params = functional(models.cnn(in_channels=3, seed=3)).params
    for key, layer in (("conv2", torch.nn.Conv2d(32, 64, 3)), ("fc1", torch.nn.Linear(3136, 128))):
        for part in ("weight", "bias"):
            flax, expected = np.asarray(params[f"{key}.{part}"]), getattr(layer, part).detach().numpy()
            bound = 1 / np.sqrt(np.prod(layer.weight.shape[1:]))
            assert np.abs(flax).max() <= bound
            assert np.abs(expected).max() <= bound
            assert np.abs(flax).max() > 0.9 * bound
            low, high = interval_of_std(bound / np.sqrt(3), flax.size, 1.8)
            assert low < flax.std() < high


@pytest.mark.parametrize(
    ("name", "size", "train"),
    [
        pytest.param("resnet18", (33, 47), True, marks=pytest.mark.slow),
        pytest.param("resnet18", (33, 47), False, marks=pytest.mark.drawn),
        pytest.param("resnext50_32x4d", (64, 64), True, marks=pytest.mark.drawn),
        pytest.param("resnext50_32x4d", (64, 64), False, marks=pytest.mark.drawn),
    ],
)
def test_logits_and_statistics_equal_torchvisions_in_float64(x64, name, size, train):
    torch.manual_seed(0)
    twin = getattr(torchvision.models, name)(num_classes=7).double().train(train)
    for value in twin.buffers():  # statistics other than 0 and 1
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    flax = functional(models.create(name, num_classes=7))
    arrays = {key: value.numpy().copy() for key, value in twin.state_dict().items()}
    params, state = weights.from_torch(arrays, to_float64(flax.params), to_float64(flax.state))
    x = torch.randn(3, 3, *size, dtype=torch.float64)
    expected = twin(x).detach().numpy()
    logits, state = flax.apply(params, state, jnp.asarray(x.numpy().transpose(0, 2, 3, 1)), train=train)
    np.testing.assert_allclose(logits, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    after = twin.state_dict()
    for key, value in state.items():
        np.testing.assert_allclose(value, after[key].numpy(), rtol=1e-9, atol=1e-12, err_msg=key)


def to_float64(arrays):
    return {
        k: v.astype(jnp.float64) if jnp.issubdtype(v.dtype, jnp.floating) else v for k, v in arrays.items()
    }


@pytest.mark.slow
def test_options_of_torchvision_have_the_same_effect():
    """`zero_init_residual` zeroes the same scales as torchvision's."""
    params = functional(models.resnet50(zero_init_residual=True, num_classes=3)).params
    expected = torchvision.models.resnet50(zero_init_residual=True, num_classes=3).state_dict()

    def zero_scales(arrays):
        return {
            key for key, value in arrays.items() if value.ndim == 1 and "weight" in key and not value.any()
        }

    zeros = zero_scales(expected)
    assert zeros == zero_scales(params)
    assert len(zeros) == 16


def test_stride_on_the_first_1x1_is_the_papers_network():
    strides = {}
    for stride_on in ("1x1", "3x3"):
        model = nnx.eval_shape(lambda option=stride_on: models.resnet50(stride_on=option, num_classes=2))
        strides[stride_on] = (model.layer2[0].conv1.stride, model.layer2[0].conv2.stride)
    assert strides == {"1x1": (2, 1), "3x3": (1, 2)}


def test_every_builder_needs_no_argument_and_is_seeded():
    first, again, other = models.resnet20(), models.resnet20(), models.resnet20(seed=1)
    key = "layer1.0.conv1.weight"
    assert jnp.array_equal(functional(first).params[key], functional(again).params[key])
    assert not jnp.array_equal(functional(first).params[key], functional(other).params[key])
    assert all(callable(getattr(models, name)) for name in models.names())


@pytest.mark.parametrize("name", [n for n in models.names() if n.startswith("preact") and "1" not in n[-3:]])
def test_abstract_output_of_pre_activation_networks(name):
    """Built and called under `eval_shape`, which allocates nothing, with images of an unusual size."""

    def logits():
        model = models.create(name, num_classes=4, in_channels=2)
        return model(jnp.zeros((2, 19, 23, 2)), train=False)

    assert jax.eval_shape(logits).shape == (2, 4)
