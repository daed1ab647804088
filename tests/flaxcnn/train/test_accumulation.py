"""The gradient of a batch in parts, with weights of classes and random draws, on a model of one layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from flaxcnn import optim
from flaxcnn.config import LossConfig
from flaxcnn.train import state as train_states
from flaxcnn.train.step import Recipe, gradient_of

CLASSES, ROWS = 3, 12


def noisy(params, state, x, *, train, key, mask):
    """A dense layer whose logits have a term drawn once a call, as a dropout has."""
    drawn = jax.random.normal(key, (1, CLASSES), x.dtype) * params["noise"]
    return x.reshape(len(x), -1) @ params["fc.weight"] + drawn, state


def gradient_with(noise=0.0, valid=ROWS, class_weights=None, **settings):
    """Gradient, loss and logits of a batch; the images and labels that they are of."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(ROWS, 1, 1, 4)), rng.integers(0, CLASSES, ROWS).astype(np.int32)
    images[:] = images[:1] if noise else images
    params = {"fc.weight": jnp.asarray(rng.normal(size=(4, CLASSES))), "noise": jnp.asarray(float(noise))}
    schedule = optim.schedule("constant", 0.1, 3)
    optimiser = optim.optimiser("sgd", schedule)
    weighing = None if class_weights is None else jnp.asarray(class_weights)
    loss = LossConfig(label_smoothing=settings.pop("label_smoothing", 0.0))
    normal = jnp.zeros(4), jnp.ones(4)
    recipe = Recipe(
        noisy, optimiser, schedule, CLASSES, *normal, loss=loss, class_weights=weighing, **settings
    )
    start = train_states.create(params, {}, optimiser, seed=0, use_ema=False)
    mask = jnp.arange(ROWS) < valid
    gradient, (value, logits, _) = jax.jit(
        lambda state, x, y: gradient_of(recipe, state, x, y, mask, jax.random.key(1))
    )(start, jnp.asarray(images), jnp.asarray(labels))
    return gradient["fc.weight"], value, np.asarray(logits), (params, images, labels)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("valid", [ROWS, 5])
def test_class_weights_of_a_batch_in_parts_are_pytorchs(x64, valid, label_smoothing):
    """Their sum differs from part to part; of five rows, in parts of three, one part has two and two have none."""
    class_weights = [0.1, 1.0, 7.0]
    options = {"class_weights": class_weights, "label_smoothing": label_smoothing}
    gradient, value, _, (params, images, labels) = gradient_with(valid=valid, accumulate=4, **options)
    kernel = torch.tensor(np.asarray(params["fc.weight"]), requires_grad=True)
    logits = torch.tensor(images[:valid].reshape(valid, -1)) @ kernel
    target = torch.tensor(labels[:valid], dtype=torch.long)
    loss = F.cross_entropy(
        logits, target, torch.tensor(class_weights).double(), label_smoothing=label_smoothing
    )
    loss.backward()
    assert float(value) == pytest.approx(loss.item(), rel=1e-7)
    np.testing.assert_allclose(gradient, kernel.grad.numpy(), rtol=1e-6, atol=1e-9)


def test_every_part_draws_for_itself(x64):
    """All rows are alike, so that logits differ by what was drawn alone: once for each of the four parts."""
    _, _, logits, _ = gradient_with(noise=1.0, accumulate=4)
    parts = logits.reshape(4, ROWS // 4, CLASSES)
    assert np.array_equal(parts, np.broadcast_to(parts[:, :1], parts.shape))
    assert len(np.unique(parts[:, 0], axis=0)) == 4
