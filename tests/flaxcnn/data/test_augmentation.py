"""The trainer's view of augmentation: jits, keeps the shape, off is the identity."""

import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn.data import augment, normalise, to_float


def test_augment_jits_and_keeps_the_range():
    images = jax.random.uniform(jax.random.key(0), (4, 8, 9, 3))
    step = jax.jit(lambda key, x: augment(key, x, crop_padding=2, flip=True, rotate=15.0, cutout=3))
    out = step(jax.random.key(1), images)
    assert out.shape == images.shape
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1 + 1e-6
    assert not np.array_equal(out, images)
    np.testing.assert_array_equal(augment(jax.random.key(1), images), images)


def test_normalise_and_to_float():
    images = to_float(np.array([0, 51, 255, 102], np.uint8).reshape(1, 2, 1, 2))
    np.testing.assert_allclose(images, np.array([0, 0.2, 1, 0.4], np.float32).reshape(1, 2, 1, 2), rtol=1e-6)
    out = normalise(images, np.array([0.5, 0.3], np.float32), jnp.array([0.25, 0.0]))
    np.testing.assert_allclose(out.reshape(-1), [-2, -0.1, 2, 0.1], rtol=1e-5)
