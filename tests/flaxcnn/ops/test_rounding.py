"""Rounding to 8 bits against `torch.fake_quantize_per_tensor_affine`, forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from flaxcnn import ops


@pytest.mark.parametrize(("scale", "zero"), [(0.03, -20), (0.011, 127), (1.0, 0), (0.25, -128)])
def test_values_and_gradients_are_torchs(scale, zero):
    draw = np.random.default_rng(0)
    # Ties and values beyond both ends among them.
    x = np.concatenate([draw.normal(size=300) * 3, (np.arange(-150, 150) + 0.5) * scale]).astype(np.float32)
    cotangent = draw.normal(size=x.shape).astype(np.float32)
    leaf = torch.from_numpy(x).requires_grad_()
    twin = torch.fake_quantize_per_tensor_affine(leaf, scale, zero, -128, 127)
    twin.backward(torch.from_numpy(cotangent))
    found, pull = jax.vjp(lambda values: ops.rounded(values, scale, zero), jnp.asarray(x))
    np.testing.assert_array_equal(found, twin.detach().numpy())
    np.testing.assert_array_equal(pull(jnp.asarray(cotangent))[0], leaf.grad.numpy())
    by_hand = ops.rounded_backward(jnp.asarray(cotangent), jnp.asarray(x), scale, zero)
    np.testing.assert_array_equal(by_hand, leaf.grad.numpy())
    assert (leaf.grad.numpy() == 0).any()
