"""Synthetic tensors hit what functions treat in a way of their own; so differences there are found, at their place."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flax import nnx

import parity
from parity.probe.synthetic import EXACT, LARGEST, SMALL, SMALLEST, cotangents, values
from parity.verdict.policy import Policy

ALL = ("wide", "exact", "small", "constant")


def drawn(shape, kinds=ALL):
    return values(np.random.default_rng(0), shape, kinds)


def test_four_examples_are_wide_exact_small_and_constant():
    wide, exact, small, constant = drawn((4, 6, 9, 8))
    assert (
        np.abs(wide).min() >= 10.0**SMALLEST / 2
        and 10.0 ** (LARGEST - 1) < np.abs(wide).max() <= 10.0**LARGEST
    )
    large = np.abs(wide.mean((1, 2))) > 9e3
    assert large.sum() == 2 and wide.std((1, 2)).min() > 0 and small.std((1, 2)).min() > 0
    assert (np.abs(wide[~large]).max(0) < 10.0**SMALL).mean() > 0.1
    assert np.abs(small).max() < 10.0**SMALL and {-1.0, 1.0} == set(np.sign(small).ravel())
    assert set(np.unique(exact)) == set(map(float, EXACT))
    assert (exact == 0).all((1, 2)).sum() >= 3 and (exact == 0).all(0).mean() > 0.1
    assert (constant == constant[:, :1, :1]).all() and len(np.unique(constant)) == 6


@pytest.mark.parametrize("shape", [(3, 6), (3, 6, 4, 4)])
def test_three_examples_are_given_the_kinds_that_are_asked_for(shape):
    wide, exact, constant = drawn(shape, ("wide", "exact", "constant"))
    assert np.abs(wide).max() > 10 and set(np.unique(exact)) <= set(map(float, EXACT))
    assert (constant == constant.reshape(6, -1)[:, :1].reshape(6, *(1 for _ in shape[2:]))).all()


def test_a_small_tensor_is_given_zeros_and_each_number_once():
    assert sorted(drawn((1, 6), ("exact",))[0]) == sorted(EXACT[:6])
    assert not drawn((4, 6))[3].any() and not drawn((2, 6, 3, 3), ("zero",)).any()


def test_a_small_tensor_is_given_the_largest_values_of_both_signs():
    wide = drawn((1, 3), ("wide",))[0]
    assert (wide.min(), wide.max()) == (-(10.0**LARGEST), 10.0**LARGEST)


def test_in_a_small_map_too_a_position_is_zero_in_all_channels():
    for seed in range(20):
        assert (values(np.random.default_rng(seed), (1, 6, 2, 2), ("exact",))[0] == 0).all(0).any()


def test_many_values_are_of_usual_size():
    wide = np.abs(drawn((1, 400), ("wide",)))
    assert 0.4 < ((wide > 1) & (wide < 100)).mean() < 0.75 and (wide < 0.01).mean() > 0.05


def test_no_cotangent_is_zero():
    given = cotangents(np.random.default_rng(0), (4, 3, 5, 5), ALL)
    assert (given != 0).all() and set(np.unique(given[1])) == {float(number) for number in EXACT if number}
    assert cotangents(np.random.default_rng(0), (), ALL).shape == ()


class Torch(torch.nn.Module):
    def __init__(self, middle):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Conv2d(6, 5, 1)
        self.middle = middle

    def forward(self, x):
        return self.conv2(self.middle(self.conv1(x)))


class Flax(nnx.Module):
    def __init__(self, middle):
        rngs = nnx.Rngs(0)
        self.conv1 = nnx.Conv(3, 6, (3, 3), padding=1, rngs=rngs)
        self.conv2 = nnx.Conv(6, 5, (1, 1), rngs=rngs)
        self.middle = middle

    def __call__(self, x):
        return self.conv2(self.middle(self.conv1(x)))


def remarks(report):
    return [note.layer for note in report.notes if note.kind == "kink"]


@pytest.mark.parametrize(
    ("torch_middle", "flax_middle"),
    [
        pytest.param(lambda x: x.clamp(-6, 6), lambda x: jnp.clip(x, -6, 6), id="a bound at 6"),
        pytest.param(
            lambda x: x + x.norm(dim=1, keepdim=True),
            lambda x: x + jnp.sqrt((x * x).sum(-1, keepdims=True)),
            id="the root of a sum of zeros",
        ),
        pytest.param(
            lambda x: F.max_pool2d(F.relu(x), 3, 1, 1),
            lambda x: nnx.max_pool(jnp.maximum(x, jnp.zeros_like(x)), (3, 3), (1, 1), "SAME"),
            id="zeros before a pool",
        ),
    ],
)
def test_another_derivative_at_a_bound_or_at_zeros_is_a_remark(torch_middle, flax_middle):
    report = parity.check(Torch(torch_middle), Flax(flax_middle), "3x3x6x5", mode="eval", sizes="same")
    assert remarks(report) == ["conv1 -> conv2"], report.summary()


@pytest.mark.parametrize(
    ("torch_norm", "flax_square"),
    [
        pytest.param(
            lambda x: x.mean((2, 3)).norm(dim=1), lambda x: (x.mean((1, 2)) ** 2).sum(-1), id="of a vector"
        ),
        pytest.param(lambda x: x.norm(), lambda x: (x * x).sum(), id="of the batch"),
    ],
)
@pytest.mark.parametrize("examples", [1, 2])
def test_the_norm_of_zeros_alone_is_a_remark(examples, torch_norm, flax_square):
    def torch_middle(x):
        return x + torch_norm(x).reshape(-1, 1, 1, 1)

    def flax_middle(x):
        return x + jnp.sqrt(flax_square(x)).reshape(-1, 1, 1, 1)

    report = parity.check(
        Torch(torch_middle), Flax(flax_middle), f"{examples}x3x6x5", mode="eval", sizes="same"
    )
    assert remarks(report) == ["conv1 -> conv2"], report.summary()
    assert report.verdict == "equivalent"


@pytest.mark.parametrize("shape", ["2x3x6x5", "4x3x6x5"])
def test_a_guard_of_a_norm_is_found(shape):
    def torch_middle(x):
        return x / x.norm(dim=1, keepdim=True).clamp(min=2e-3)

    def flax_middle(x):
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)

    options = {"mode": "eval", "sizes": "same", "policy": Policy()}
    report = parity.check(Torch(torch_middle), Flax(flax_middle), shape, **options)
    where = report.first_divergence
    assert where is not None and (where.layer, where.phase) == ("conv1 -> conv2", "forward"), report.summary()


def test_a_softplus_that_is_linear_above_20_is_a_right_port():
    report = parity.check(Torch(F.softplus), Flax(nnx.softplus), "4x3x9x9", mode="eval", sizes="same")
    assert report.verdict == "equivalent", report.summary()
    bent = parity.check(
        Torch(lambda x: F.softplus(x, threshold=8)), Flax(nnx.softplus), "4x3x9x9", mode="eval", sizes="same"
    )
    assert bent.first_divergence.layer == "conv1 -> conv2"
