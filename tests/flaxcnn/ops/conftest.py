"""Checks of the rules in flaxcnn.ops: against torch, JAX's own derivative, and central differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def float64():
    """Run the tests of this folder in float64; tests of float32 switch it off."""
    with jax.enable_x64(True):
        yield


def to_torch(array):
    """Convert an array to a torch tensor that requires a gradient, images as [n c h w]."""
    tensor = torch.tensor(np.asarray(array))
    tensor = tensor.permute(0, 3, 1, 2).contiguous() if tensor.ndim == 4 else tensor
    return tensor.requires_grad_(tensor.is_floating_point())


def to_numpy(tensor):
    """Convert a torch tensor to an array, images as [n h w c]."""
    tensor = tensor.detach()
    return (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).numpy()


def close(actual, expected, tolerance=1e-10):
    """Compare shapes and values, the error relative to the largest expected magnitude."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    scale = max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


def compiled(function):
    """Compile once: eager execution would compile every operation."""
    return jax.jit(function)


def check_rule(forward, backward, torch_forward, primals, *, seed=0):
    """Check a forward and a backward rule at one point.

    forward(*primals) -> y; backward(cotangent, *primals) -> a gradient for each primal; torch_forward is
    forward in torch, for tensors in torch's layout (see to_torch).
    """
    generator = np.random.default_rng(seed)
    primals = [np.asarray(primal) for primal in primals]
    directions = [generator.normal(size=primal.shape) for primal in primals]
    tensors = [to_torch(primal) for primal in primals]
    torch_y = torch_forward(*tensors)
    cotangent = generator.normal(size=to_numpy(torch_y).shape)
    by_torch = torch.autograd.grad(torch_y, tensors, to_torch(cotangent).detach())

    # One program for everything, since compiling takes most of the time.
    def evaluate(cotangent, primals, moved):
        y, pullback = jax.vjp(forward, *primals)
        return y, backward(cotangent, *primals), pullback(cotangent), [forward(*values) for values in moved]

    moved = [[p + step * d for p, d in zip(primals, directions, strict=True)] for step in (1e-6, -1e-6)]
    y, by_hand, by_jax, (ahead, behind) = compiled(evaluate)(cotangent, primals, moved)

    close(y, to_numpy(torch_y))
    for hand, automatic, torch_gradient in zip(by_hand, by_jax, by_torch, strict=True):
        close(hand, automatic)
        close(hand, to_numpy(torch_gradient))
    difference = np.vdot(np.asarray(ahead) - np.asarray(behind), cotangent) / 2e-6
    close(sum(np.vdot(g, d) for g, d in zip(by_hand, directions, strict=True)), difference, tolerance=1e-6)


def check_second_derivative(forward, *primals, seed=0):
    """Check a Hessian-vector product, the jvp of a gradient, against differences of the gradient."""
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=jax.eval_shape(forward, *primals).shape)
    directions = tuple(generator.normal(size=primal.shape) for primal in primals)

    def loss(*values):
        return jnp.sum(weights * jnp.square(forward(*values)))

    def evaluate(primals, directions):
        gradient = jax.grad(loss, argnums=tuple(range(len(primals))))
        product = jax.jvp(gradient, primals, directions)[1]
        moved = [
            gradient(*(p + sign * 1e-5 * d for p, d in zip(primals, directions, strict=True)))
            for sign in (1, -1)
        ]
        return product, jax.tree.map(lambda a, b: (a - b) / 2e-5, *moved)

    for product, difference in zip(*compiled(evaluate)(primals, directions), strict=True):
        close(product, difference, tolerance=1e-6)


@pytest.fixture(scope="session")
def rule():
    """Return check_rule: the tests share code by fixtures."""
    return check_rule


@pytest.fixture(scope="session")
def second_derivative():
    """Return check_second_derivative."""
    return check_second_derivative
