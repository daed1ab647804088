"""Mixup and cutmix: the deterministic parts against torchvision, the random parts by their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from flaxcnn.train.mix import cutmix, cutmix_box, cutmix_with, mixup, mixup_with, roll_among


class Fixed:
    """Stands for torchvision's Beta distribution, and always draws one value."""

    def __init__(self, value):
        self.value = value

    def sample(self, _):
        return torch.tensor(self.value, dtype=torch.float64)


def batch(seed, rows, height=6, width=9, classes=4, dtype=np.float64):
    random = np.random.default_rng(seed)
    images = random.normal(size=(rows, height, width, 2)).astype(dtype)
    return images, np.eye(classes, dtype=dtype)[random.integers(0, classes, rows)]


def through_torchvision(transform, images, probs):
    mixed, labels = transform(torch.tensor(images).permute(0, 3, 1, 2), torch.tensor(probs))
    return mixed.permute(0, 2, 3, 1).numpy(), labels.numpy()


# Compiled as they would be within a training step; alone, every operation would be a program.
roll = jax.jit(roll_among)
mixup_compiled, cutmix_compiled, box_compiled = (
    jax.jit(mixup_with),
    jax.jit(cutmix_with),
    jax.jit(cutmix_box, static_argnums=(3, 4)),
)


def rolled(rows):
    return roll(np.ones(rows, dtype=bool))


@settings(max_examples=15)
@given(seed=st.integers(0, 99), rows=st.sampled_from([1, 5]), lam=st.floats(0.0, 1.0))
def test_mixup_equals_torchvision(seed, rows, lam):
    images, probs = batch(seed, rows)
    transform = v2.MixUp(num_classes=4)
    transform._dist = Fixed(lam)
    with jax.enable_x64(True):
        found = mixup_compiled(images, probs, jnp.asarray(lam), rolled(rows))
    for a, b in zip(found, through_torchvision(transform, images, probs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-15)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 99),
    lam=st.floats(0.0, 1.0),
    center=st.tuples(st.integers(0, 8), st.integers(0, 5)),
)
def test_cutmix_equals_torchvision(seed, lam, center):
    for size in (6, 9):
        half = 0.5 * (1 - lam) ** 0.5 * size
        # On a whole number, the last bit of a square root decides which way it is floored.
        assume(lam in (0.0, 1.0) or abs(half - round(half)) > 1e-9)
    images, probs = batch(seed, 3)
    transform = v2.CutMix(num_classes=4)
    transform._dist = Fixed(lam)
    draws = iter(center)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randint", lambda high, size: torch.tensor([next(draws)]))
        wanted = through_torchvision(transform, images, probs)
    with jax.enable_x64(True):
        center_x, center_y = (jnp.asarray(c, dtype=jnp.int32) for c in center)
        box = box_compiled(jnp.asarray(lam), center_x, center_y, 6, 9)
        found = cutmix_compiled(images, probs, box, rolled(3))
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-14, atol=1e-15)


@given(st.lists(st.booleans(), min_size=7, max_size=7))
@settings(max_examples=40)
def test_partners_stay_among_the_valid_rows(mask):
    permutation = np.asarray(roll(np.asarray(mask)))
    valid = np.flatnonzero(mask)
    expected = np.arange(len(mask))
    expected[valid] = np.roll(valid, 1)
    np.testing.assert_array_equal(permutation, expected)


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_padding_changes_nothing(mix):
    """A short batch, and the same one padded with NaN, give the same valid rows from the same key."""
    images, probs = batch(1, 3, dtype=np.float32)
    pad = [(0, 2), (0, 0), (0, 0), (0, 0)]
    padded = [jnp.asarray(np.pad(one, pad[: one.ndim], constant_values=np.nan)) for one in (images, probs)]
    mask = jnp.array([True, True, True, False, False])
    mix_short = jax.jit(lambda key: mix(key, jnp.asarray(images), jnp.asarray(probs), 1.0))
    mix_long = jax.jit(lambda key: mix(key, *padded, 1.0, mask))
    for seed in range(8):
        short, long = mix_short(jax.random.key(seed)), mix_long(jax.random.key(seed))
        for a, b in zip(short, long, strict=True):
            np.testing.assert_array_equal(a, b[:3])
            assert np.isnan(b[3:]).all()


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_the_labels_say_how_much_of_each_image_there_is(mix):
    """Images that are constant, and equal to their class: the mean pixel must be the mean label."""
    images = jnp.broadcast_to(jnp.arange(4.0)[:, None, None, None], (4, 8, 8, 1))
    probs = jnp.eye(4)
    mixed, labels = jax.jit(jax.vmap(lambda key: mix(key, images, probs, 1.0)))(
        jax.random.split(jax.random.key(0), 50)
    )
    np.testing.assert_allclose(mixed.mean(axis=(2, 3, 4)), labels @ np.arange(4.0), atol=1e-5)
    np.testing.assert_allclose(labels.sum(axis=-1), 1.0, atol=1e-6)
    assert np.unique(np.asarray(labels[:, 0, 0])).size > 10


@pytest.mark.parametrize("alpha", [0.2, pytest.param(3.0, marks=pytest.mark.drawn)])
def test_the_share_follows_beta(alpha):
    images, probs = jnp.zeros((2, 1, 1, 1)), jnp.eye(2)
    keys = jax.random.split(jax.random.key(3), 2000)
    labels = jax.jit(jax.vmap(lambda key: mixup(key, images, probs, alpha)[1]))(keys)
    shares = np.asarray(labels[:, 0, 0], dtype=np.float64)
    assert scipy.stats.kstest(shares, scipy.stats.beta(alpha, alpha).cdf).pvalue > 0.01


@pytest.mark.drawn
def test_the_box_is_pasted_where_torchvision_pastes_it():
    """How often each pixel is pasted, over many draws of each library."""
    draws = 1500
    images = jnp.stack([jnp.zeros((8, 8, 1)), jnp.ones((8, 8, 1))])
    keys = jax.random.split(jax.random.key(5), draws)
    mixed = jax.jit(jax.vmap(lambda key: cutmix(key, images, jnp.eye(2), 1.0)[0]))(keys)
    found = np.asarray(mixed[:, 0, :, :, 0]).mean(axis=0)

    transform, wanted = v2.CutMix(num_classes=2), np.zeros((8, 8))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for _ in range(draws):
            x1, y1, x2, y2 = transform.make_params([torch.zeros(2, 1, 8, 8)])["box"]
            wanted[y1:y2, x1:x2] += 1 / draws
    std = np.sqrt(2 * wanted * (1 - wanted) / draws)
    assert (np.abs(found - wanted) < 4.5 * std).all()


@pytest.mark.parametrize("mix", [mixup, cutmix])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_types_are_kept(mix, dtype):
    images, probs = jnp.ones((2, 4, 4, 1), dtype), jnp.eye(2)
    mixed, labels = jax.eval_shape(lambda key: mix(key, images, probs, 0.4), jax.random.key(0))
    assert (mixed.dtype, labels.dtype) == (dtype, jnp.float32)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_a_bad_alpha(mix, alpha):
    with pytest.raises(ValueError, match="must be a positive finite number"):
        mix(jax.random.key(0), jnp.ones((2, 4, 4, 1)), jnp.eye(2), alpha)
