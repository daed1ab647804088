"""The searches alone, on tensors that JAX computed in float64 by its own primitives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax import lax

from parity.diagnose.families.connections import ConnectionProblem
from parity.diagnose.families.convolution import Convolution
from parity.diagnose.families.normalisation import Normalisation
from parity.diagnose.families.transposed import TransposedConvolution
from parity.diagnose.identify import Side, identify, rounding_bound
from parity.diagnose.kernels import Parameters
from parity.diagnose.pattern import pattern
from parity.verdict.policy import Policy


def drawn(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).standard_normal(shape)


def side(target, *inputs):
    target = np.array(target, np.float64)
    bound = rounding_bound(target.astype(np.float32), target, Policy())
    return Side(tuple(torch.from_numpy(np.array(x)) for x in inputs), torch.from_numpy(target), bound)


def convolved(x, w, *, stride=1, padding=((1, 1), (1, 1)), dilation=1, groups=1, lhs=1):
    """By XLA, NCHW and OIHW."""
    return lax.conv_general_dilated(
        x,
        w,
        (stride, stride),
        padding,
        lhs_dilation=(lhs, lhs),
        rhs_dilation=(dilation, dilation),
        feature_group_count=groups,
    )


def named(problem, torch_side, flax_side):
    identified = identify(problem, torch_side, flax_side)
    if identified is None or identified.flax is None:
        return None
    differences = problem.differences(identified.torch, identified.flax)
    return [(difference.id, difference.torch, difference.flax) for difference in differences]


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (8, 3, 2, ("pads (1, 1)", "pads (0, 1), as 'SAME' does")),
        (12, 7, 2, ("pads (3, 3)", "pads (2, 3), as 'SAME' does")),
        (9, 5, 3, ("pads (2, 2)", "pads (1, 1), as 'SAME' does")),
        (9, 3, 2, None),
    ],
)
def test_same_padding_is_told_from_symmetric_padding(x64, size, kernel, stride, expected):
    x, w = drawn(2, 3, size, size), drawn(4, 3, kernel, kernel)
    pad = kernel // 2
    torch_side = side(convolved(x, w, stride=stride, padding=((pad, pad),) * 2), x)
    flax_side = side(convolved(x, w, stride=stride, padding="SAME"), x)
    problem = Convolution.of(Parameters(torch.from_numpy(w), None), torch_side, flax_side)
    differences = named(problem, torch_side, flax_side)
    assert differences == ([] if expected is None else [("padding-same-vs-symmetric", *expected)])


@pytest.mark.parametrize(("size", "stride", "dilation"), list(itertools.product((7, 8), (1, 2), (1, 2))))
def test_the_setting_of_a_convolution_is_recovered(x64, size, stride, dilation):
    x, w = drawn(2, 2, size, size), drawn(3, 2, 3, 3)
    pads = ((dilation, dilation),) * 2
    y = side(convolved(x, w, stride=stride, padding=pads, dilation=dilation), x)
    identified = identify(Convolution.of(Parameters(torch.from_numpy(w), None), y, y), y, y)
    assert identified.torch == identified.flax
    assert (identified.torch.stride, identified.torch.dilation, identified.torch.start) == (
        (stride,) * 2,
        (dilation,) * 2,
        (dilation,) * 2,
    )


def test_a_dilation_is_named_before_the_padding_that_goes_with_it(x64):
    """Found by `parity defects`: the padding was named as the first cause."""
    x, w = drawn(2, 2, 8, 8), drawn(3, 2, 3, 3)
    torch_side, flax_side = (
        side(convolved(x, w), x),
        side(convolved(x, w, padding=((2, 2),) * 2, dilation=2), x),
    )
    differences = named(
        Convolution.of(Parameters(torch.from_numpy(w), None), torch_side, flax_side), torch_side, flax_side
    )
    assert [id for id, _, _ in differences] == ["stride-or-dilation", "padding-same-vs-symmetric"]


def test_a_kernel_of_another_layer_is_found_among_those_of_its_shape(x64):
    x, w, other = drawn(2, 3, 6, 6), drawn(3, 3, 3, 3), drawn(3, 3, 3, 3, seed=1)
    torch_side, flax_side = side(convolved(x, w), x), side(convolved(x, other), x)
    parameters = Parameters(
        torch.from_numpy(w), None, others={"layer2.conv": (torch.from_numpy(other), None)}
    )
    differences = named(Convolution.of(parameters, torch_side, flax_side), torch_side, flax_side)
    assert [(id, flax) for id, _, flax in differences] == [
        ("weight-swapped", "uses the weight of layer2.conv")
    ]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_transposed_convolution_that_does_not_flip_is_named(x64, stride):
    x, w = drawn(2, 3, 5, 5), drawn(3, 4, 3, 3)
    flipped = np.flip(np.swapaxes(w, 0, 1), (2, 3))
    pads = ((1, 1), (1, 1))
    torch_side = side(convolved(x, flipped, lhs=stride, padding=pads), x)
    flax_side = side(convolved(x, np.swapaxes(w, 0, 1), lhs=stride, padding=pads), x)
    torch_result = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(x), torch.from_numpy(w), stride=stride, padding=1
    )
    assert torch_side.reproduced_by(torch_result)
    problem = TransposedConvolution.of(Parameters(torch.from_numpy(w), None, transposed=True), torch_side)
    assert [id for id, _, _ in named(problem, torch_side, flax_side)] == ["conv-transpose-flip"]


def test_epsilon_is_solved_for_where_it_hardly_matters(x64):
    x = drawn(4, 3, 5, 5)
    scale, bias, mean, var = (np.abs(drawn(3, seed=s)) + 0.5 for s in range(4))

    def normalised(epsilon):
        shaped = [a.reshape(1, 3, 1, 1) for a in (scale, bias, mean, var)]
        return (x - shaped[2]) / np.sqrt(shaped[3] + epsilon) * shaped[0] + shaped[1]

    torch_side, flax_side = side(normalised(1e-5), x), side(normalised(1.0003e-5), x)
    tensors = [torch.from_numpy(a) for a in (scale, bias, mean, var)]
    problem = Normalisation.of(
        tensors[0], tensors[1], (tensors[2], tensors[3]), (torch_side, flax_side), train=False
    )
    assert named(problem, torch_side, flax_side) == [("norm-epsilon", "epsilon 1e-05", "epsilon 1.0003e-05")]


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        (lambda x, mean, var: (x - var) / np.sqrt(mean + 1e-5), "weight-swapped"),
        (
            lambda x, mean, var: (
                (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)
            ),
            "bn-mode",
        ),
    ],
)
def test_other_statistics_of_a_batch_norm_are_named(x64, planted, expected):
    x = drawn(4, 3, 5, 5)
    mean, var = (np.abs(drawn(1, 3, 1, 1, seed=s)) + 0.5 for s in range(2))
    torch_side, flax_side = side((x - mean) / np.sqrt(var + 1e-5), x), side(planted(x, mean, var), x)
    running = torch.from_numpy(mean.ravel()), torch.from_numpy(var.ravel())
    problem = Normalisation.of(None, None, running, (torch_side, flax_side), train=False)
    assert [id for id, _, _ in named(problem, torch_side, flax_side)] == [expected]


def connection(torch_side, flax_side, *inputs):
    shapes = tuple(x.shape for x in inputs)
    names = tuple(f"x{i}" for i in range(len(inputs)))
    return named(
        ConnectionProblem(names, shapes, torch_side.shape, shapes, flax_side.shape, ()), torch_side, flax_side
    )


def pooled(x, padding, *, ceil=False):
    pads = ((0, 0), (0, 0), *((padding, padding + ceil),) * 2)
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 3, 3), (1, 1, 2, 2), pads)


def test_a_missing_ceil_mode_shows_in_the_size(x64):
    x = drawn(2, 3, 8, 8)
    torch_side, flax_side = side(pooled(x, 0, ceil=True), x), side(pooled(x, 0), x)
    assert torch_side.shape[2:] == (4, 4)
    assert [id for id, _, _ in connection(torch_side, flax_side, x)] == ["pool-ceil-mode"]


NEIGHBOURS = {
    "ReLU6": (lambda x: jnp.clip(x, 0, 6), "activation-kind"),
    "SiLU": (jax.nn.silu, "activation-kind"),
    "softplus": (jax.nn.softplus, "activation-kind"),
    "hard-swish": (jax.nn.hard_swish, "activation-kind"),
    "Mish": (jax.nn.mish, "activation-kind"),
    "ELU": (jax.nn.elu, "activation-kind"),
    "SELU": (jax.nn.selu, "activation-kind"),
    "softmax": (lambda x: jax.nn.softmax(x, axis=1), "activation-kind"),
    "LeakyReLU, slope 0.2": (lambda x: jax.nn.leaky_relu(x, 0.2), "activation-kind"),
}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_jaxs_activations_are_recognised(x64, name):
    function, id = NEIGHBOURS[name]
    x = 3.0 * drawn(4, 5, 3, 3)
    differences = connection(side(jnp.maximum(x, 0), x), side(function(x), x), x)
    assert differences == [(id, "ReLU", name)]


def test_a_shortcut_from_another_tensor_is_named(x64):
    x, near, far = (drawn(2, 3, 4, 4, seed=s) for s in range(3))
    torch_side, flax_side = (
        side(np.maximum(x + near, 0), x, near, far),
        side(np.maximum(x + far, 0), x, near, far),
    )
    differences = connection(torch_side, flax_side, x, near, far)
    assert differences == [("residual-missing", "ReLU(x0 + x1)", "ReLU(x0 + x2)")]


@pytest.mark.slow
def test_nothing_is_named_where_nothing_reproduces_a_side(x64):
    x = drawn(2, 3, 4, 4)
    assert connection(side(np.sin(5 * x), x), side(x, x), x) is None
    assert connection(side(x, x), side(np.sin(5 * x), x), x) is None


BORDER = np.zeros((2, 3, 5, 5))
BORDER[..., -1] = 1.0
CHANNEL = np.zeros((2, 3, 5, 5))
CHANNEL[:, 1, 2, 2] = 1.0
PATTERNS = {
    "factor": (lambda x: 0.25 * x, "Flax = 0.25 x PyTorch"),
    "line": (lambda x: 3 * x - 2, "Flax = 3 x PyTorch - 2"),
    "zero": (lambda x: 0 * x, "Flax's is zero everywhere"),
    "border": (lambda x: x + BORDER * np.sin(9 * x), "30 of 150 elements differ, at the right border only"),
    "channel": (lambda x: x + CHANNEL, "2 of 150 elements differ, in channels 1 only, at 1 of 25 positions"),
    "permutation": (
        lambda x: x[:, [2, 0, 1]],
        "the channels are permuted: Flax's channels are PyTorch's 2, 0, 1",
    ),
    "order": (lambda x: x[..., ::-1], "Flax has the same numbers in another order"),
    "example": (
        lambda x: x + np.array([0.0, 1.0]).reshape(2, 1, 1, 1) * np.cos(7 * x),
        "75 of 150 elements differ, in examples 1 only",
    ),
    "shape": (lambda x: x[:, :2], "shape [2, 3, 5, 5] in PyTorch, [2, 2, 5, 5] in Flax"),
    "nothing": (lambda x: x, "no difference above rounding"),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_the_pattern_of_an_error_is_described(name):
    change, words = PATTERNS[name]
    x = drawn(2, 3, 5, 5)
    assert pattern(x, change(x), 1e-12) == words


SCALED = {
    "shortcut missing": (lambda x, y: y, "residual-missing", "x1 + x0"),
    "ReLU added": (lambda x, y: np.maximum(x + y, 0), "activation-kind", "no activation"),
}


@pytest.mark.parametrize("name", SCALED)
def test_a_sum_of_an_image_and_one_with_its_channels_last_is_read(x64, name):
    change, id, words = SCALED[name]
    y, x = drawn(2, 5, 6, 4), drawn(2, 4, 5, 6)
    moved = np.moveaxis(y, -1, 1)
    torch_side, flax_side = side((x + moved).mean((2, 3)), y, x), side(change(x, moved).mean((2, 3)), y, x)
    differences = connection(torch_side, flax_side, y, x)
    assert [(id, words) for id, words, _ in differences] == [(id, words)]


def test_parts_of_a_concatenation_that_are_activated_and_resized_are_read(x64):
    """Found by `parity defects`: two SiLUs before a concatenation, with one part resized, were not searched."""
    small, fine = drawn(2, 3, 3, 3), drawn(2, 2, 6, 6)

    def joined(corners):
        parts = [torch.nn.functional.silu(torch.from_numpy(x)) for x in (fine, small)]
        parts[1] = torch.nn.functional.interpolate(
            parts[1], size=(6, 6), mode="bilinear", align_corners=corners
        )
        return side(torch.cat(parts, 1).numpy(), small, fine)

    differences = connection(joined(False), joined(True), small, fine)
    assert differences == [("resize-align-corners", "align_corners=False", "align_corners=True")]


def test_another_gate_of_a_product_is_named(x64):
    x, gate = drawn(2, 3, 4, 4), 3.0 * drawn(2, 3, 1, 1)
    torch_side = side(np.maximum(x, 0) * np.clip(gate / 6 + 0.5, 0, 1), gate, x)
    flax_side = side(np.maximum(x, 0) * np.asarray(jax.nn.sigmoid(gate)), gate, x)
    assert connection(torch_side, flax_side, gate, x) == [("activation-kind", "hard-sigmoid", "sigmoid")]
