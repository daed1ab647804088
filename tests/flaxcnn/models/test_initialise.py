"""Initial weights follow their distribution, over several pieces too, and are the same traced or not."""

import jax
import numpy as np
import pytest
from scipy import stats

from flaxcnn.models import initialise

SHAPE = (3, 3, 100, 200)  # 180,000 numbers, in three pieces
KERNEL = (3, 3, 64, 128)


@pytest.mark.parametrize(
    ("draw", "distribution"),
    [
        (initialise.kaiming_normal_fan_out, stats.norm(0, np.sqrt(2 / (9 * 200)))),
        (initialise.uniform_fan_in, stats.uniform(-1 / np.sqrt(900), 2 / np.sqrt(900))),
        (initialise.bias_for(KERNEL), stats.uniform(-1 / np.sqrt(576), 2 / np.sqrt(576))),
    ],
)
def test_the_distribution_of_the_draws(draw, distribution):
    """A Kolmogorov-Smirnov test with a false alarm in a million; and no two pieces are alike."""
    drawn = np.asarray(draw(jax.random.key(0), SHAPE))
    assert drawn.shape == SHAPE
    assert drawn.dtype == np.float32
    assert stats.kstest(drawn.ravel(), distribution.cdf).pvalue > 1e-6
    flat = drawn.ravel()
    correlation = np.corrcoef(flat[: initialise.PIECE], flat[initialise.PIECE : 2 * initialise.PIECE])[0, 1]
    assert abs(correlation) < 6 / np.sqrt(initialise.PIECE)
    assert len(np.unique(flat)) > 0.9 * min(flat.size, 2**23 / 10)


def test_traced_draws_are_the_eager_ones():
    key = jax.random.key(3)
    for draw in (initialise.kaiming_normal_fan_out, initialise.uniform_fan_in):
        traced = jax.jit(draw, static_argnums=1)(key, SHAPE)
        np.testing.assert_allclose(traced, draw(key, SHAPE), rtol=1e-6, atol=1e-9)


def test_keys_differ():
    a, b = (initialise.uniform_fan_in(jax.random.key(seed), (3, 3, 8, 8)) for seed in (0, 1))
    assert not np.array_equal(a, b)
