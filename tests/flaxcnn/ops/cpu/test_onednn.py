"""The calls of oneDNN against torch: convolutions of every geometry, input gradients, matrix products; the probe."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiers import examples

from flaxcnn.ops import conv2d
from flaxcnn.ops.cpu import onednn, onednn_probe, onednn_support
from flaxcnn.ops.cpu.choice import RULES, fast_rules
from flaxcnn.ops.geometry import axes

pytestmark = pytest.mark.skipif(
    not onednn_support.is_available(),
    reason="this jaxlib does not compile calls of oneDNN: other rules compute",
)


@pytest.fixture(autouse=True)
def _unstored():
    """Like the training step, keep the programs out of the cache: JAX would fail to write them, with a warning."""
    with onednn.never_stored():
        yield


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def torch_convolution(x, kernel, padding, stride, dilation, groups):
    """In float64, on [n h w c] and [kh kw ci co]."""
    (top, bottom), (left, right) = padding
    padded = F.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
    kernel = kernel.permute(3, 2, 0, 1)
    return F.conv2d(padded, kernel, None, stride, 0, dilation, groups).permute(0, 2, 3, 1)


def close(actual, expected):
    """Equal up to the rounding of the largest value in float32."""
    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=0, atol=3e-6 * scale)


@settings(max_examples=examples(20))
@example((9, 7), (3, 2), (2, 1), (1, 3), ((1, 2), (0, 1)), 2, 0)
@example((6, 8), (3, 3), (1, 1), (2, 1), ((1, 2), (1, 0)), 4, 1)
@example((5, 6), (1, 1), (3, 2), (1, 1), ((0, 0), (0, 0)), 1, 2)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    pairs,
    pairs,
    pairs,
    st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2),
    st.sampled_from([1, 2, 4]),
    st.integers(0, 99),
)
def test_a_convolution_of_any_geometry(size, window, stride, dilation, padding, groups, seed):
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    if any(s + sum(p) < span for s, p, span in zip(size, padding, spans, strict=True)):
        return
    x, kernel = normal(seed, 2, *size, 2 * groups), normal(seed + 1, *window, 2, 3 * groups)
    spatial = axes(x.shape, window, stride=stride, padding=padding, dilation=dilation)
    float64 = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in (x, kernel)]
    y = torch_convolution(*float64, padding, stride, dilation, groups)
    actual = jax.jit(onednn.convolution, static_argnums=(2, 3))(x, kernel, spatial, groups)
    close(actual, y.detach().numpy())
    if stride == (1, 1) and all(max(p) < span for p, span in zip(padding, spans, strict=True)):
        g = normal(seed + 2, *y.shape)
        expected = torch.autograd.grad(y, float64[0], torch.tensor(g, dtype=torch.float64))[0].numpy()
        close(jax.jit(onednn.input_gradient, static_argnums=(2, 3))(g, kernel, spatial, groups), expected)


@pytest.mark.parametrize("shape", [(7, 3, 5), (2, 7, 3, 5), (1, 1, 1)])
def test_outer_products(shape):
    *batch, k, m, n = shape
    a, b = normal(0, *batch, k, m), normal(1, *batch, k, n)
    expected = np.swapaxes(a, -1, -2).astype(np.float64) @ b
    close(jax.jit(onednn.outer_products)(a, b), expected)


def test_conv2d_calls_it_on_the_cpu_only_and_differentiates_twice():
    """The gradients come from the primitives: the call itself has none."""
    x, kernel = jnp.asarray(normal(0, 2, 6, 6, 4)), jnp.asarray(normal(1, 3, 3, 2, 6))

    def loss(x, kernel):
        return jnp.sum(jnp.sin(conv2d(x, kernel, padding=1, groups=2)))

    def product(x, kernel):
        return jax.jvp(jax.grad(loss, (0, 1)), (x, kernel), (x, kernel))[1]

    def lowered(platform):
        jax.clear_caches()
        return jax.jit(product).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()

    assert "onednn" not in lowered("cpu"), "only where the rule is allowed"
    expected = jax.jit(product)(x, kernel)
    with fast_rules(*RULES):
        assert "onednn" not in lowered("cpu"), (
            "a small convolution is stored in the compilation cache instead"
        )
    with fast_rules(*RULES, least_work=0):
        assert "__onednn$convolution" in lowered("cpu")
        assert "onednn" not in lowered("cuda")
        by_onednn = jax.jit(product)(x, kernel)
    for actual, plain in zip(by_onednn, expected, strict=True):
        close(actual, np.asarray(plain, np.float64))


def test_the_probe_notices_a_wrong_result(monkeypatch):
    real = onednn.outer_products
    monkeypatch.setattr(onednn, "outer_products", lambda a, b: real(a, b) + 1e-2)
    assert not onednn_probe.gives_right_results()


def test_the_probe_notices_a_call_that_does_not_compile(monkeypatch):
    real = onednn._call
    monkeypatch.setattr(onednn, "_call", lambda name, *rest: real("no such " + name, *rest))
    assert not onednn_probe.gives_right_results()


@pytest.mark.slow
def test_a_program_with_calls_is_not_offered_to_the_compilation_cache(tmp_path):
    """Otherwise JAX warns of a MemoryError, which it meets when it serialises such a program."""
    code = f"""
import warnings; warnings.simplefilter("error")
import jax, jax.numpy as jnp
jax.config.update("jax_compilation_cache_dir", {str(tmp_path)!r})
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
from flaxcnn.ops.cpu import onednn, onednn_support
assert onednn_support.is_available()
assert not onednn_support.is_usable()
with onednn.never_stored():
    assert onednn_support.is_usable()
    print(jax.jit(onednn.outer_products)(jnp.ones((7, 2)), jnp.ones((7, 3))).sum())
assert jax.config.jax_persistent_cache_min_compile_time_secs == 0.0
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) == 42.0
