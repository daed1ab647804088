"""The distillation loss: its hand-derived gradient against JAX's and PyTorch's, padding, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from flaxcnn import ops
from flaxcnn.errors import InvalidArgument


def test_value_and_gradient_are_torchs(x64):
    draw = np.random.default_rng(0)
    student, teacher = 4 * draw.normal(size=(2, 6, 5))
    padded = [jnp.asarray(np.concatenate([rows, np.full((2, 5), np.nan)])) for rows in (student, teacher)]
    mask = jnp.arange(8) < 6
    z = torch.tensor(student, requires_grad=True)
    twin = 9.0 * torch.nn.KLDivLoss(reduction="batchmean")(
        torch.log_softmax(z / 3, 1), torch.softmax(torch.tensor(teacher) / 3, 1)
    )
    (twin * 1.7).backward()

    def loss(logits, other):
        return 1.7 * ops.distillation(logits, other, temperature=3.0, mask=mask)

    value, (gradient, to_teacher) = jax.jit(jax.value_and_grad(loss, (0, 1)))(*padded)
    np.testing.assert_allclose(value, 1.7 * twin.item(), rtol=1e-13)
    np.testing.assert_allclose(gradient[:6], z.grad.numpy(), rtol=0, atol=1e-15)
    assert not np.any(gradient[6:]) and not np.any(to_teacher)
    by_hand = ops.distillation_backward(jnp.asarray(1.7), *padded, temperature=3.0, mask=mask)
    np.testing.assert_allclose(by_hand, gradient, rtol=0, atol=1e-15)


def test_without_rows_there_is_no_loss():
    rows = jnp.ones((3, 2))
    assert ops.distillation(rows, rows * 2, mask=jnp.zeros(3, bool)) == 0


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_one_sentence(temperature):
    with pytest.raises(InvalidArgument, match="expected a number above 0"):
        ops.distillation(jnp.ones((2, 2)), jnp.ones((2, 2)), temperature=temperature)
