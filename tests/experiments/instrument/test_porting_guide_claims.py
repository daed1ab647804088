"""Compares the claims of the page on porting with the installed libraries: defaults, code, behaviour."""

import ast
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch.nn.functional as F
import torchvision
from flax import errors, linen, nnx

from experiments.instrument.porting_guide.words import words
from parity.verdict.catalogue import DEFECTS

LIBRARIES = {
    "torch": torch,
    "torchvision": torchvision,
    "nnx": nnx,
    "linen": linen,
    "optax": optax,
    "jax": jax,
    "jnp": jnp,
}
ENTRIES = words().entries
DEFAULTS = sorted({default for entry in ENTRIES.values() for default in entry.defaults})
# The defaults that ports most often get wrong; the page must keep them.
INDISPENSABLE = {
    "nnx.Conv(padding='SAME')",
    "nnx.BatchNorm(momentum=0.99)",
    "nnx.BatchNorm(epsilon=1e-5)",
    "torch.nn.BatchNorm2d(momentum=0.1)",
    "nnx.LayerNorm(epsilon=1e-6)",
    "nnx.GroupNorm(epsilon=1e-6)",
    "nnx.BatchNorm(use_fast_variance=True)",
    "nnx.ConvTranspose(transpose_kernel=False)",
    "jax.nn.gelu(approximate=True)",
    "jax.image.resize(antialias=True)",
    "optax.rmsprop(decay=0.9)",
    "optax.rmsprop(eps=1e-8)",
    "optax.rmsprop(eps_in_sqrt=True)",
    "optax.adamw(weight_decay=1e-4)",
    "torch.optim.AdamW(weight_decay=1e-2)",
    "optax.adagrad(initial_accumulator_value=0.1)",
}


def test_the_page_keeps_the_defaults_that_ports_trip_over():
    assert set(DEFAULTS) >= INDISPENSABLE


@pytest.mark.parametrize("claim", DEFAULTS)
def test_a_default_is_the_installed_librarys(claim):
    call = ast.parse(claim, mode="eval").body
    name, _, rest = ast.unparse(call.func).partition(".")
    target = LIBRARIES[name]
    for part in rest.split("."):
        target = getattr(target, part)
    signature = inspect.signature(target.__init__ if isinstance(target, type) else target)
    for keyword in call.keywords:
        default, claimed = signature.parameters[keyword.arg].default, ast.literal_eval(keyword.value)
        assert default == claimed and (default is None) == (claimed is None)


# The code.


def run(id, **names):
    """Run an entry's code; return its names, and the value of its last line if that is an expression."""
    given = {
        "np": np,
        "F": F,
        "rngs": nnx.Rngs(0),
        "x": jnp.linspace(-1, 1, 512).reshape(2, 8, 8, 4),
        "branch": jnp.ones((2, 8, 8, 4)),
        "train": True,
        "images": jnp.ones((2, 8, 8, 3)),
        "logits": jnp.linspace(-1, 2, 40).reshape(4, 10),
        "labels": jnp.arange(4),
        "model": nnx.Sequential(nnx.BatchNorm(4, rngs=nnx.Rngs(0)), nnx.Linear(4, 3, rngs=nnx.Rngs(0))),
        "conv_weight": np.zeros((8, 4, 3, 3)),
        "dense_weight": np.zeros((8, 4)),
        "transposed_weight": np.zeros((4, 8, 3, 3)),
        "grouped_weight": np.zeros((16, 2, 3, 3)),
    }
    space = LIBRARIES | given | names
    tree = ast.parse(ENTRIES[id].code)
    value = None
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        for statement in tree.body:
            if isinstance(statement, ast.Expr):
                value = eval(ast.unparse(statement), space)
            else:
                exec(ast.unparse(statement), space)
    return space, value


@pytest.mark.parametrize("id", DEFECTS)
def test_the_code_of_an_entry_runs(id, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    run(id)


def image(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def nhwc(x):
    return jnp.asarray(np.moveaxis(np.asarray(x), 1, -1))


def same(flax, torch, tolerance=1e-5):
    expected = torch.detach().numpy()
    if expected.ndim == 4:
        expected = np.moveaxis(expected, 1, -1)
    np.testing.assert_allclose(np.asarray(flax), expected, rtol=tolerance, atol=tolerance)


POOLINGS = {
    "pool-padding-side": torch.nn.MaxPool2d(3, 2, padding=1),
    "pool-padding-value": torch.nn.MaxPool2d(3, 2, padding=1),
    "pool-count-include-pad": torch.nn.AvgPool2d(3, 1, padding=1),
    "pool-ceil-mode": torch.nn.MaxPool2d(3, 2, ceil_mode=True),
    "stride-or-dilation": torch.nn.MaxPool2d(2),
    "flatten-order": torch.nn.Flatten(),
    "gelu-approximation": torch.nn.GELU(),
    "relu-tie-gradient": torch.nn.ReLU(),
    "variance-ddof": lambda x: x.std((2, 3)),
    "resize-antialias": lambda x: F.interpolate(x, (4, 4), mode="bilinear"),
    "resize-align-corners": lambda x: F.interpolate(x, (15, 15), mode="bilinear", align_corners=True),
}


@pytest.mark.parametrize("id", POOLINGS)
def test_the_fix_of_a_function_is_pytorchs(id):
    x = torch.from_numpy(image(2, 4, 8, 8)) - 0.5
    space, value = run(id, x=nhwc(x))
    if id == "stride-or-dilation":
        value = nnx.max_pool(nhwc(x), (2, 2), (2, 2))
    same(space["y"] if value is None else value, POOLINGS[id](x))


@pytest.mark.parametrize(
    ("id", "twin", "weight"),
    [
        ("padding-same-vs-symmetric", torch.nn.Conv2d(4, 8, 3, stride=2, padding=1), "conv_weight"),
        (
            "conv-transpose-flip",
            torch.nn.ConvTranspose2d(4, 8, 3, stride=2, padding=1, output_padding=1),
            "transposed_weight",
        ),
        ("group-order", torch.nn.Conv2d(8, 16, 3, padding=1, groups=4), "grouped_weight"),
        ("stride-or-dilation", torch.nn.Conv2d(4, 8, 3, dilation=2, padding=2), "conv_weight"),
    ],
)
def test_the_fix_of_a_layer_is_pytorchs(id, twin, weight):
    space, layer = run(id, **{weight: twin.weight.detach().numpy()})
    kernel = space.get("transposed_kernel", space.get("grouped_kernel"))
    if kernel is None:
        kernel = run("kernel-layout", conv_weight=twin.weight.detach().numpy())[0]["conv_kernel"]
    layer.kernel[...], layer.bias[...] = jnp.asarray(kernel), jnp.asarray(twin.bias.detach().numpy())
    x = image(2, twin.in_channels, 8, 8)
    same(layer(nhwc(x)), twin(torch.from_numpy(x)))


def test_the_fix_of_the_running_variance_is_pytorchs():
    norm, twin, x = run("bn-running-var-bias")[1], torch.nn.BatchNorm2d(8), image(2, 8, 3, 3)
    norm(nhwc(x), train=True)
    twin(torch.from_numpy(x))
    same(norm.running_var[...], twin.running_var)


def test_the_losses_are_pytorchs():
    logits, labels = image(4, 10), np.arange(4)
    given = {"logits": jnp.asarray(logits), "labels": jnp.asarray(labels)}
    tensors = torch.from_numpy(logits), torch.from_numpy(labels)
    for id, smoothing in (("softmax-twice", 0.0), ("loss-reduction", 0.0), ("label-smoothing-form", 0.1)):
        same(run(id, **given)[0]["loss"], F.cross_entropy(*tensors, label_smoothing=smoothing))


def one_cycle(parameters):
    optimiser = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    options = {"total_steps": 100, "anneal_strategy": "linear"}
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, **options)


OPTIMISERS = {
    "momentum-form": (lambda s: s["optimiser"], lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
    "momentum-cycled": (lambda s: s["optimiser"], one_cycle),
    "adam-decay-coupling": (lambda s: s["coupled"], lambda p: torch.optim.Adam(p, 1e-3, weight_decay=5e-4)),
    "adam-decay-coupling, decoupled": (lambda s: s["decoupled"], lambda p: torch.optim.AdamW(p, 1e-3)),
    "sgd-decay-coupling": (
        lambda s: s["optimiser"],
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=5e-4),
    ),
    "adam-epsilon-placement": (lambda s: s["optimiser"], lambda p: torch.optim.Adam(p, 1e-3)),
    "rmsprop-epsilon-placement": (lambda s: s["optimiser"], torch.optim.RMSprop),
    "adagrad-epsilon": (lambda s: s["adagrad"](1e-2), lambda p: torch.optim.Adagrad(p, 1e-2)),
    "clip-epsilon": (lambda s: s["optimiser"], lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_fix_of_an_optimiser_is_pytorchs(name, x64):
    id = name.partition(",")[0]
    of_entry, of_torch = OPTIMISERS[name]
    start = np.linspace(-1, 1, 6)
    with jax.numpy_dtype_promotion("standard"):
        transformation, parameters = of_entry(run(id)[0]), {"w": jnp.asarray(start)}
        state, twin = transformation.init(parameters), torch.nn.Parameter(torch.from_numpy(start.copy()))
        made = of_torch([twin])
        optimiser, scheduler = made if isinstance(made, tuple) else (made, None)
        # Optax computes some schedules in float32, unless it counts in int64.
        state = jax.tree.map(lambda leaf: leaf.astype(jnp.int64) if leaf.dtype == jnp.int32 else leaf, state)
        for step in range(4):
            gradient = np.random.default_rng(step).standard_normal(6)
            twin.grad = torch.from_numpy(gradient.copy())
            if id == "clip-epsilon":
                torch.nn.utils.clip_grad_norm_([twin], 1.0)
            optimiser.step()
            if scheduler is not None:
                scheduler.step()
            updates, state = transformation.update({"w": jnp.asarray(gradient)}, state, parameters)
            parameters = optax.apply_updates(parameters, updates)
    same(parameters["w"], twin, 1e-12)


def test_the_initialisers_have_pytorchs_distributions():
    space, conv = run("init-distribution")
    assert space["bound"] == 1 / np.sqrt(64)
    kernel = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")(jax.random.key(0), (64, 1000))
    linear = torch.nn.Linear(64, 1000)
    assert 0.99 < np.abs(kernel).max() * 8 <= 1 and 0.99 < linear.weight.abs().max() * 8 <= 1
    fan_out = conv.kernel[...].shape[3] * 9
    normal = nnx.initializers.variance_scaling(2, "fan_out", "normal")(jax.random.key(0), (3, 3, 400, 8))
    assert np.std(normal) == pytest.approx(np.sqrt(2 / fan_out), rel=0.02)


# Other claims of the words.


def test_the_derivatives_at_zero_are_as_said():
    zero = 0.0
    assert jax.grad(jax.nn.relu)(zero) == 0
    assert jax.grad(lambda x: jnp.maximum(x, 0.0))(zero) == 0.5
    assert jax.grad(lambda x: jnp.clip(x, 0.0))(zero) == 0.5
    assert jax.grad(lambda x: jnp.where(x >= 0, x, 0.0))(zero) == 1
    assert jax.grad(jax.nn.leaky_relu)(zero) == 1
    assert jax.grad(lambda x: jnp.where(x > 0, x, 0.01 * x))(zero) == pytest.approx(0.01)
    for function, derivative in ((F.relu, 0.0), (F.leaky_relu, 0.01)):
        x = torch.zeros((), requires_grad=True)
        function(x).backward()
        assert x.grad.item() == pytest.approx(derivative)


def test_same_pads_as_said():
    pads = {
        (k, n): jax.lax.padtype_to_pads([n], [k], [2], "SAME")[0] for k, n in ((3, 8), (7, 8), (3, 7), (7, 7))
    }
    assert pads == {(3, 8): (0, 1), (7, 8): (2, 3), (3, 7): (1, 1), (7, 7): (3, 3)}


def test_a_pooling_without_a_stride_is_as_said():
    assert nnx.max_pool(jnp.zeros((1, 8, 8, 3)), (2, 2)).shape == (1, 7, 7, 3)
    assert F.max_pool2d(torch.zeros(1, 3, 8, 8), 2).shape == (1, 3, 4, 4)


def test_linens_statistics_are_as_said():
    norm, x = linen.BatchNorm(use_running_average=False), jnp.arange(12.0).reshape(4, 3)
    variables = norm.init(jax.random.key(0), x)
    assert not np.any(variables["batch_stats"]["mean"])
    with pytest.raises(errors.ModifyScopeVariableError):
        norm.apply(variables, x)
    _, after = norm.apply(variables, x, mutable=["batch_stats"])
    variance = 0.99 + 0.01 * np.var(np.asarray(x), axis=0)
    np.testing.assert_allclose(after["batch_stats"]["var"], variance, rtol=1e-6)


def test_the_variances_are_as_said():
    assert torch.tensor([1.0, 2.0]).var() == 0.5 and jnp.var(jnp.array([1.0, 2.0])) == 0.25


@pytest.mark.parametrize(
    ("flax_mode", "torch_mode", "antialias", "equal"),
    [
        ("nearest", "nearest-exact", False, True),
        ("nearest", "nearest", False, False),
        ("cubic", "bicubic", False, False),
        ("cubic", "bicubic", True, True),
    ],
)
def test_resizing_is_as_said(flax_mode, torch_mode, antialias, equal):
    x = image(1, 2, 9, 9)
    options = {"antialias": antialias} if torch_mode == "bicubic" else {}
    expected = F.interpolate(torch.from_numpy(x), (4, 4), mode=torch_mode, **options).numpy()
    actual = jax.image.resize(nhwc(x), (1, 4, 4, 2), flax_mode, antialias=antialias)
    assert np.allclose(np.moveaxis(np.asarray(actual), -1, 1), expected, atol=1e-4) == equal


def test_the_cosine_goes_on_as_said():
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 4), []
    for _ in range(7):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    flax = [float(optax.cosine_decay_schedule(1.0, 4)(t)) for t in range(7)]
    np.testing.assert_allclose(flax[:5], rates[:5], atol=1e-6)
    assert rates[6] > 0.4 and flax[6] == 0
