"""Cross-entropy against torch, jax's derivative and differences, over generated options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiers import examples

from flaxcnn.ops import cross_entropy, cross_entropy_backward

OPTIONS = {
    "shape": st.tuples(st.integers(1, 5), st.integers(1, 4)),
    "soft": st.booleans(),
    "label_smoothing": st.sampled_from([0.0, 0.1, 1.0]),
    "weighted": st.booleans(),
    "reduction": st.sampled_from(["mean", "sum", "none"]),
    "ignored": st.booleans(),
    "masked": st.booleans(),
    "seed": st.integers(0, 1000),
}


@settings(max_examples=examples(16))
@example((5, 4), False, 0.1, True, "mean", True, True, 0)
@example((4, 3), True, 0.1, True, "none", False, True, 1)
@example((3, 4), False, 0.0, False, "sum", True, False, 2)
@example((5, 2), True, 1.0, True, "mean", False, False, 3)
@given(**OPTIONS)
def test_rule(rule, shape, soft, label_smoothing, weighted, reduction, ignored, masked, seed):
    generator = np.random.default_rng(seed)
    rows, classes = shape
    logits = generator.normal(size=shape) * 3
    labels = generator.dirichlet(np.ones(classes), rows) if soft else generator.integers(classes, size=rows)
    if ignored and not soft:
        labels[1:] = np.where(generator.random(rows - 1) < 0.4, -7, labels[1:])
    weights = generator.random(classes) + 0.1 if weighted else None
    mask = None
    if masked:
        mask = generator.random(rows) < 0.6
        mask[0] = True

    def torch_forward(logits):
        kept = np.ones(rows, bool) if mask is None else mask
        losses = F.cross_entropy(
            logits[kept],
            torch.tensor(labels[kept]),
            None if weights is None else torch.tensor(weights),
            reduction=reduction,
            ignore_index=-7,
            label_smoothing=label_smoothing,
        )
        if reduction != "none":
            return losses
        return torch.zeros(rows, dtype=logits.dtype).index_put((torch.tensor(np.flatnonzero(kept)),), losses)

    options = {
        "label_smoothing": label_smoothing,
        "class_weights": None if weights is None else jnp.asarray(weights),
        "reduction": reduction,
        "ignore_index": -7,
        "mask": None if mask is None else jnp.asarray(mask),
    }
    rule(
        lambda logits: cross_entropy(logits, jnp.asarray(labels), **options),
        lambda g, logits: (cross_entropy_backward(g, logits, jnp.asarray(labels), **options),),
        torch_forward,
        (jnp.asarray(logits),),
        seed=seed,
    )


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_uncounted_rows_reach_neither_loss_nor_gradient(label_smoothing):
    """Not even NaN, or a label out of range."""
    logits = jnp.array([[1.0, 2.0], [jnp.nan, jnp.inf]])
    labels, mask = jnp.array([0, 9]), jnp.array([True, False])
    options = {"label_smoothing": label_smoothing}

    def loss(logits, class_weights):
        return cross_entropy(logits, labels, mask=mask, class_weights=class_weights, **options)

    differentiate = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    value, (gradient, weight_gradient) = differentiate(logits, jnp.ones(2))
    expected = F.cross_entropy(torch.tensor([[1.0, 2.0]]).double(), torch.tensor([0]), **options)
    np.testing.assert_allclose(value, expected.numpy(), atol=1e-12)
    np.testing.assert_array_equal(gradient[1], [0, 0])
    assert np.isfinite(gradient).all()
    assert np.isfinite(weight_gradient).all()
    by_hand = cross_entropy_backward(jnp.ones(()), logits, labels, mask=mask, **options)
    np.testing.assert_allclose(by_hand, gradient, atol=1e-12)


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_out_of_range_gives_nan(label):
    """Compiled code cannot raise; a training run stops at the NaN."""
    assert jnp.isnan(jax.jit(cross_entropy)(jnp.ones((2, 2)), jnp.array([0, label])))


def test_the_mean_over_no_row_is_nan_as_in_torch():
    labels = np.array([-100, -100])
    assert torch.isnan(F.cross_entropy(torch.ones(2, 3), torch.tensor(labels)))
    assert jnp.isnan(cross_entropy(jnp.ones((2, 3)), jnp.asarray(labels)))


def test_extreme_logits_are_finite():
    logits = jnp.array([[1e4, -1e4, -jnp.inf]])
    loss, gradient = jax.jit(jax.value_and_grad(cross_entropy))(logits, jnp.array([1]))
    assert loss == 2e4
    np.testing.assert_array_equal(gradient, [[1, -1, 0]])


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.uint8, jnp.int64])
def test_label_dtypes(dtype):
    labels = jnp.array([1, 0], dtype)
    expected = F.cross_entropy(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), torch.tensor([1, 0])).item()
    assert cross_entropy(jnp.array([[0.0, 1.0], [2.0, 1.0]]), labels).item() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_loss_is_float32_and_gradient_keeps_the_dtype(dtype):
    with jax.enable_x64(False):
        logits, labels = jnp.ones((2, 3), dtype), jnp.array([0, 2])
        loss, gradient = jax.eval_shape(jax.value_and_grad(cross_entropy), logits, labels)
        assert (loss.dtype, gradient.dtype) == (jnp.float32, dtype)
        assert jax.eval_shape(cross_entropy_backward, loss, logits, labels).dtype == dtype


def test_second_derivative(second_derivative):
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)))
    labels = jnp.array([0, 3, 1])
    second_derivative(lambda z: cross_entropy(z, labels, label_smoothing=0.1, reduction="none"), logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.5}, "label_smoothing is 1.5"),
        ({"reduction": "average"}, "reduction is 'average', but it must be one of mean, sum, none"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        cross_entropy(jnp.ones((2, 3)), jnp.array([0, 1]), **options)
