"""The fast rules in float64 against torch: values, gradients, Hessian products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from tiers import examples

from flaxcnn.ops import batch_norm, conv2d
from flaxcnn.ops.cpu import winograd
from flaxcnn.ops.cpu.choice import RULES, fast_rules
from flaxcnn.ops.cpu.plain_convolution import plain_convolution
from flaxcnn.ops.cpu.strided import input_gradient_by_phases
from flaxcnn.ops.geometry import axes

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
paddings = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)


@pytest.fixture(autouse=True)
def _float64():
    """Compute the small cases of this file by the fast rules too."""
    with jax.enable_x64(True), fast_rules(*RULES, least_work=0):
        yield


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def torch_convolution(x, kernel, padding, stride=1):
    """conv2d of torch on [n h w c] and [kh kw ci co] tensors, with its own padding on every side."""
    (top, bottom), (left, right) = padding
    padded = F.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
    return F.conv2d(padded, kernel.permute(3, 2, 0, 1), stride=stride).permute(0, 2, 3, 1)


def torch_gradients(x, kernel, cotangent, padding, stride=1):
    x, kernel = (torch.tensor(array, requires_grad=True) for array in (x, kernel))
    y = torch_convolution(x, kernel, padding, stride)
    return [gradient.numpy() for gradient in torch.autograd.grad(y, (x, kernel), torch.tensor(cotangent))]


def close(actual, expected):
    np.testing.assert_allclose(
        np.asarray(actual), expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max(initial=0)
    )


@settings(max_examples=examples(25))
@example((9, 7), ((1, 2), (0, 1)), 5, 2, 0)
@example((4, 6), ((1, 1), (1, 1)), 3, 2, 1)
@example((8, 3), ((2, 0), (0, 2)), 4, 3, 2)
@given(sizes, paddings, st.integers(1, 5), st.integers(1, 3), st.integers(0, 99))
def test_winograd_is_the_convolution_and_its_kernel_gradient(size, padding, images, block, seed):
    """For any size and padding, and for any division of the images into blocks."""
    if any(length + sum(around) < 3 for length, around in zip(size, padding, strict=True)):
        return
    x, kernel = normal(seed, images, *size, 3), normal(seed + 1, 3, 3, 3, 2)
    spatial = axes(x.shape, 3, stride=1, padding=padding)
    y = torch_convolution(torch.tensor(x), torch.tensor(kernel), padding).numpy()
    cotangent = normal(seed + 2, *y.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "block_size", lambda *_: block)
        actual, gradient = jax.jit(
            lambda x, kernel, g: (
                winograd.convolution(x, kernel, spatial),
                winograd.kernel_gradient(g, x, spatial),
            )
        )(x, kernel, cotangent)
    close(actual, y)
    close(gradient, torch_gradients(x, kernel, cotangent, padding)[1])


@settings(max_examples=examples(25))
@example((7, 6), ((1, 0), (2, 1)), (3, 2), (2, 3), 0)
@example((5, 9), ((0, 2), (1, 1)), (4, 3), (3, 2), 1)
@example((6, 6), ((1, 1), (1, 1)), (2, 4), (2, 2), 2)
@given(
    sizes,
    paddings,
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.integers(0, 99),
)
def test_the_phases_make_the_input_gradient(size, padding, window, stride, seed):
    if any(s + sum(p) < k for s, p, k in zip(size, padding, window, strict=True)):
        return
    x, kernel = normal(seed, 2, *size, 3), normal(seed + 1, *window, 3, 2)
    spatial = axes(x.shape, window, stride=stride, padding=padding)
    cotangent = normal(seed + 2, 2, spatial[0].output, spatial[1].output, 2)
    actual = jax.jit(input_gradient_by_phases, static_argnums=2)(cotangent, kernel, spatial)
    close(actual, torch_gradients(x, kernel, cotangent, padding, stride)[0])


# For each fast rule a convolution that it computes: height, width, ci, co, window, stride, padding.
CASES = {
    "winograd": (9, 8, 64, 65, 3, 1, 1),
    "winograd_kernel_gradient": (8, 9, 128, 128, 3, 1, 1),
    "phases": (7, 8, 3, 4, 3, 2, 1),
    "matmul": (6, 7, 3, 4, 1, 2, 0),
}


def losses_of(case):
    """The same scalar function of (x, kernel) in flaxcnn and in torch; it is not quadratic."""
    *_, stride, padding = CASES[case]
    pad = ((padding, padding), (padding, padding))
    return (
        lambda x, kernel: jnp.sum(jnp.sin(conv2d(x, kernel, stride=stride, padding=padding))),
        lambda x, kernel: torch.sin(torch_convolution(x, kernel, pad, stride)).sum(),
    )


def arguments(case, seed=0):
    height, width, ci, co, window, *_ = CASES[case]
    return normal(seed, 2, height, width, ci), normal(seed + 1, window, window, ci, co) / np.sqrt(
        window**2 * ci
    )


@pytest.mark.parametrize("case", CASES)
def test_hessian_products_in_every_mode_are_those_of_torch(case):
    flax_loss, torch_loss = losses_of(case)
    primal, tangent = arguments(case), arguments(case, 7)
    x, kernel = (torch.tensor(array, requires_grad=True) for array in primal)
    gradient = torch.autograd.grad(torch_loss(x, kernel), (x, kernel), create_graph=True)
    inner = sum((a * torch.tensor(b)).sum() for a, b in zip(gradient, tangent, strict=True))
    torch_product = [array.numpy() for array in torch.autograd.grad(inner, (x, kernel))]
    torch_gradient = [array.detach().numpy() for array in gradient]

    grad = jax.grad(flax_loss, (0, 1))

    def forward_over_reverse(a, t):
        return jax.jvp(grad, a, t)[1]

    def reverse_over_forward(a, t):
        return jax.grad(lambda *b: jax.jvp(flax_loss, b, t)[1], (0, 1))(*a)

    def reverse_over_reverse(a, t):
        return jax.vjp(grad, *a)[1](t)

    modes = forward_over_reverse, reverse_over_forward, reverse_over_reverse
    flax_gradient, *flax_products = jax.jit(lambda a, t: [grad(*a), *(mode(a, t) for mode in modes)])(
        primal, tangent
    )
    pairs = [(flax_gradient, torch_gradient), *((product, torch_product) for product in flax_products)]
    for flax_arrays, torch_arrays in pairs:
        for actual, expected in zip(flax_arrays, torch_arrays, strict=True):
            close(actual, expected)


@pytest.mark.parametrize("case", CASES)
def test_vmap_is_a_loop(case):
    """Over images with one kernel, over both (as for the gradients of single examples), over kernels."""
    loss, _ = losses_of(case)
    x, kernel = (np.stack([arguments(case, seed)[i] for seed in (0, 1)]) for i in (0, 1))
    single = jax.jit(jax.grad(loss, (0, 1)))
    for axes_ in ((0, None), (0, 0), (None, 0)):
        a = x[0] if axes_[0] is None else x
        b = kernel[0] if axes_[1] is None else kernel
        mapped = jax.jit(jax.vmap(jax.grad(loss, (0, 1)), axes_))(a, b)
        for i in range(2):
            looped = single(a if axes_[0] is None else a[i], b if axes_[1] is None else b[i])
            for actual, expected in zip(mapped, looped, strict=True):
                close(actual[i], np.asarray(expected))


@pytest.mark.parametrize("case", CASES)
def test_the_rules_can_be_switched_off_and_are_off_on_accelerators(case):
    loss, _ = losses_of(case)
    arrays = tuple(map(jnp.asarray, arguments(case)))

    def lowered(platform):
        return jax.jit(jax.grad(loss, (0, 1))).trace(*arrays).lower(lowering_platforms=(platform,)).as_text()

    fast = lowered("cpu")
    jax.clear_caches()
    with fast_rules():
        plain = lowered("cpu")
    assert plain.count("stablehlo.convolution") == 3
    assert fast.count("stablehlo.convolution") != 3 or "stablehlo.while" in fast
    assert lowered("cuda").count("stablehlo.convolution") == 3


def test_winograd_rounds_as_a_convolution_does():
    """In float32, against float64: at most twice the rounding of XLA's own sum, which depends on the processor."""
    x, kernel = normal(0, 4, 16, 16, 128), normal(1, 3, 3, 128, 128)
    x, kernel = (jnp.asarray(array, jnp.float32) for array in (x, kernel))
    # Both start from the same float32 numbers, so the error is that of the computation alone.
    float64 = [torch.tensor(np.asarray(array, np.float64)) for array in (x, kernel)]
    exact = torch_convolution(*float64, ((1, 1), (1, 1))).numpy()

    def error(y):
        return np.linalg.norm(np.asarray(y, np.float64) - exact) / np.linalg.norm(exact)

    spatial = axes(x.shape, 3, stride=1, padding=1)
    fast, plain = winograd.convolution(x, kernel, spatial), plain_convolution(x, kernel, spatial, 1)
    assert 0 < error(fast) < 2 * error(plain)
    assert error(fast) < 5e-7


def test_batch_norm_has_hessian_products():
    """Its sums are separate primitives: forward over reverse, against torch."""
    x, scale = normal(0, 3, 4, 5, 2), normal(1, 2)
    tangent = normal(2, 3, 4, 5, 2), normal(3, 2)

    def loss(x, scale):
        y, *_ = batch_norm(x, scale, jnp.zeros(2), jnp.zeros(2), jnp.ones(2), train=True)
        return jnp.sum(jnp.sin(y))

    @jax.jit
    def products(arrays, tangent):
        return jax.jvp(jax.grad(loss, (0, 1)), arrays, tangent)

    torch_x, torch_scale = (torch.tensor(array, requires_grad=True) for array in (x, scale))
    y = F.batch_norm(torch_x.permute(0, 3, 1, 2), None, None, torch_scale, None, training=True)
    torch_gradient = torch.autograd.grad(torch.sin(y).sum(), (torch_x, torch_scale), create_graph=True)
    inner = sum((a * torch.tensor(b)).sum() for a, b in zip(torch_gradient, tangent, strict=True))
    torch_product = torch.autograd.grad(inner, (torch_x, torch_scale))
    flax_gradient, flax_product = products((x, scale), tangent)
    for actual, expected in zip(flax_product, torch_product, strict=True):
        np.testing.assert_allclose(np.asarray(actual), expected.numpy(), rtol=1e-9, atol=1e-10)
    for actual, expected in zip(flax_gradient, torch_gradient, strict=True):
        close(actual, expected.detach().numpy())


def test_the_channel_sums_are_batched():
    x = jnp.asarray(normal(0, 3, 4, 5, 6, 2))
    ones, zeros = jnp.asarray(np.ones(2)), jnp.asarray(np.zeros(2))
    run = jax.jit(lambda images: batch_norm(images, ones, zeros, zeros, ones, train=True)[0])
    mapped = jax.jit(jax.vmap(run))(x)
    for i in range(3):
        close(mapped[i], np.asarray(run(x[i])))


def sharded_loss(kernel, x):
    y = conv2d(x, kernel, padding=1)
    ones, zeros = jnp.ones(64), jnp.zeros(64)
    return jnp.sum(jnp.sin(batch_norm(y, ones, zeros, zeros, ones, train=True)[0]))


def simple_loss(kernel, x):
    return jnp.sum(jnp.sin(conv2d(x, kernel, padding=1)))


@pytest.fixture
def shared_batch():
    """A kernel and images in float32, a mesh of two devices (conftest.py divides one CPU in two), and a comparison."""
    kernel, x = (
        np.asarray(array, np.float32) for array in (normal(1, 3, 3, 64, 64) / 24, normal(0, 4, 9, 8, 64))
    )

    def same(actual, expected):
        actual, expected = jax.device_get((actual, expected))
        assert np.abs(actual - expected).max() < 1e-5 * np.abs(expected).max()

    with jax.enable_x64(False):
        yield kernel, x, lambda kind: jax.make_mesh((2,), ("batch",), axis_types=(kind,)), same


def test_two_devices_share_a_batch_that_xla_divides(shared_batch):
    kernel, x, mesh, same = shared_batch
    gradient = jax.jit(jax.grad(sharded_loss))
    divided = jax.device_put(x, NamedSharding(mesh(AxisType.Auto), P("batch")))
    assert len(divided.sharding.device_set) == 2
    same(gradient(kernel, divided), gradient(kernel, x))


def test_two_devices_share_a_batch_under_shard_map(shared_batch):
    kernel, x, mesh, same = shared_batch
    gradients = jax.shard_map(
        lambda k, x: jax.grad(simple_loss)(jax.lax.pcast(k, "batch", to="varying"), x)[None],
        mesh=mesh(AxisType.Auto),
        in_specs=(P(), P("batch")),
        out_specs=P("batch"),
    )
    same(
        jax.jit(lambda k, x: jnp.sum(gradients(k, x), 0))(kernel, x),
        jax.jit(jax.grad(simple_loss))(kernel, x),
    )


def test_two_devices_share_a_batch_explicitly(shared_batch):
    """The plain rules compute arrays whose types hold their sharding."""
    kernel, x, mesh, same = shared_batch
    expected = jax.jit(jax.grad(sharded_loss, 1))(kernel, x)
    with jax.set_mesh(mesh(AxisType.Explicit)):
        divided = jax.jit(jax.grad(sharded_loss, 1))(
            jax.device_put(kernel, P()), jax.device_put(x, P("batch"))
        )
    same(divided, expected)
