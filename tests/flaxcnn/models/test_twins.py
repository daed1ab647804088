"""The models that torchvision lacks against twins, written independently in PyTorch, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from flaxcnn import models, weights
from flaxcnn.functional import functional
from parity.suites.models import twins

CASES = {
    "resnet20": ({}, lambda: twins.CifarResNet(20)),
    "resnet20 shortcut B": ({"shortcut": "B"}, lambda: twins.CifarResNet(20, shortcut="B")),
    "resnet20 plain stem": (
        {"stem": "plain", "width": 8, "in_channels": 1},
        lambda: twins.CifarResNet(20, width=8, stem_stride=2, in_channels=1),
    ),
    "preact_resnet20": ({}, lambda: twins.CifarResNet(20, pre_activation=True)),
    "preact_resnet20 shortcut B": (
        {"shortcut": "B"},
        lambda: twins.CifarResNet(20, pre_activation=True, shortcut="B"),
    ),
    "cnn": ({"dropout": 0.0, "image_size": (12, 16)}, lambda: twins.CNN(dropout=0.0, image_size=(12, 16))),
    "cnn batch norm": (
        {"dropout": 0.0, "image_size": 12, "batch_norm": True},
        lambda: twins.CNN(dropout=0.0, image_size=(12, 12), batch_norm=True),
    ),
}


def float64(arrays):
    return {
        k: v.astype(jnp.float64) if jnp.issubdtype(v.dtype, jnp.floating) else v for k, v in arrays.items()
    }


# The suites of parity compare with the same twins layer by layer, so here one model of each family runs daily.
QUICK, DAILY = ("cnn batch norm",), ("resnet20", "preact_resnet20 shortcut B")


def tier(case):
    return pytest.mark.slow if case in DAILY else pytest.mark.drawn


@pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=tier(case)) for case in CASES]
)
def test_logits_state_and_gradients_equal_the_twins(x64, case):
    options, build = CASES[case]
    torch.manual_seed(0)
    twin = build().double().train()
    flax = functional(models.create(case.split()[0], **options))
    arrays = {key: value.numpy().copy() for key, value in twin.state_dict().items()}
    params, state = weights.from_torch(arrays, float64(flax.params), float64(flax.state))
    channels = twin.conv1.in_channels
    size = getattr(models.create("cnn", **options), "image_size", None) if case.startswith("cnn") else (9, 11)
    x = torch.randn(4, channels, *size, dtype=torch.float64)
    projection = torch.randn(4, 10, dtype=torch.float64)
    (twin(x) * projection).sum().backward()

    def objective(params):
        logits, new_state = flax.apply(
            params, state, jnp.asarray(x.numpy().transpose(0, 2, 3, 1)), train=True
        )
        return jnp.sum(logits * jnp.asarray(projection.numpy())), (logits, new_state)

    gradient, (logits, new_state) = jax.jit(jax.grad(objective, has_aux=True))(params)
    # A bias before batch norm has a gradient of zero, so errors are relative to the largest gradient.
    scale = max(float(parameter.grad.abs().max()) for parameter in twin.parameters())
    for key, parameter in twin.named_parameters():
        expected = parameter.grad.numpy()
        actual = np.asarray(gradient[key])
        actual = weights.LAYOUTS[actual.ndim].to_torch(actual)
        np.testing.assert_allclose(actual, expected, rtol=1e-8, atol=1e-11 * scale, err_msg=key)
    twin.zero_grad()
    after = twin.state_dict()
    for key, value in new_state.items():
        np.testing.assert_allclose(value, after[key].numpy(), rtol=1e-10, atol=1e-12, err_msg=key)
    assert logits.shape == (4, 10)


def test_published_parameter_counts():
    """He et al. 2015, table 6: 0.27, 0.46, 0.66, 0.85 and 1.7 million parameters."""
    from flaxcnn.models import overview

    counts = {d: sum(v.size for v in overview.shapes(f"resnet{d}").values()) for d in (20, 32, 44, 56, 110)}
    rounded = [round(counts[d] / 1e6, 2) for d in (20, 32, 44, 56)]
    assert rounded == [0.27, 0.46, 0.66, 0.85]
    assert round(counts[110] / 1e6, 1) == 1.7
