"""Random layers are run as they are: whether, what and how often they drop, and how they scale, decides."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torchvision.ops import StochasticDepth

import parity
from parity.capture.sampling import CALLS, with_draws
from parity.engine import Engine
from parity.matching.calls import align
from parity.matching.drawing import pair_drawing
from parity.probe.chance import EXAMPLES, probe_chance
from parity.probe.draws import Draws, unlike
from parity.verdict.policy import Policy

SHAPE = "2x3x4x3"
LEVEL = 1e-8


class Torch(torch.nn.Module):
    """A random layer between two convolutions."""

    def __init__(self, drop):
        super().__init__()
        self.conv1, self.drop, self.conv2 = torch.nn.Conv2d(3, 6, 1), drop, torch.nn.Conv2d(6, 5, 1)

    def forward(self, x):
        return self.conv2(self.drop(self.conv1(x)))


class Linen(linen.Module):
    """The twin of `Torch`; `always` and `never` fix the layer's mode."""

    drop: linen.Module
    always: bool = False
    never: bool = False

    @linen.compact
    def __call__(self, x, train=False):
        x = linen.Conv(6, (1, 1), name="conv1")(x)
        x = self.drop(x, deterministic=self.never or not (train or self.always))
        return linen.Conv(5, (1, 1), name="conv2")(x)


class Nnx(nnx.Module):
    """The twin of `Torch`."""

    def __init__(self, drop, **names):
        rngs = nnx.Rngs(3)
        self.conv1 = nnx.Conv(3, 6, (1, 1), rngs=rngs)
        self.conv2 = nnx.Conv(6, 5, (1, 1), rngs=rngs)
        setattr(self, names.get("name", "drop"), drop)
        self.name = names.get("name", "drop")

    def __call__(self, x):
        return self.conv2(getattr(self, self.name)(self.conv1(x)))


class Masked(linen.Module):
    """Dropout by hand, whose attribute has another name; `axes` are those along which its mask is constant."""

    drop_prob: float
    axes: tuple[int, ...] = ()
    scaled: bool = True

    @linen.compact
    def __call__(self, x, deterministic):
        if deterministic:
            return x
        keep = 1 - self.drop_prob
        shape = [1 if axis in self.axes else n for axis, n in enumerate(x.shape)]
        mask = jax.random.bernoulli(self.make_rng("dropout"), keep, shape).astype(x.dtype)
        return x * jnp.broadcast_to(mask, x.shape) / (keep if self.scaled else 1)


class MaskedNnx(nnx.Module):
    """The same in NNX."""

    def __init__(self, p, axes=(), scaled=True):
        self.p, self.axes, self.scaled = p, axes, scaled
        self.rngs, self.deterministic = nnx.Rngs(7), False

    def __call__(self, x):
        if self.deterministic:
            return x
        shape = [1 if axis in self.axes else n for axis, n in enumerate(x.shape)]
        mask = jax.random.bernoulli(self.rngs.dropout(), 1 - self.p, shape).astype(x.dtype)
        return x * jnp.broadcast_to(mask, x.shape) / (1 - self.p if self.scaled else 1)


class Keyed(Nnx):
    """A model that is handed its key, and hands it on."""

    def __call__(self, x, key):
        return self.conv2(self.drop(self.conv1(x), key))


class MaskedByKey(nnx.Module):
    """It drops the whole batch at once."""

    deterministic = False

    def __call__(self, x, key):
        if self.deterministic:
            return x
        return x * jax.random.bernoulli(key, 0.6).astype(x.dtype) / 0.6


class TorchMasked(torch.nn.Module):
    """Dropout by hand, of any shape; `axes` count as PyTorch's."""

    def __init__(self, drop_prob, axes=(), scaled=True):
        super().__init__()
        self.drop_prob, self.axes, self.scaled = drop_prob, axes, scaled

    def forward(self, x):
        if not self.training:
            return x
        keep = 1 - self.drop_prob
        shape = [1 if axis in self.axes else n for axis, n in enumerate(x.shape)]
        return x * torch.empty(shape, dtype=x.dtype).bernoulli_(keep) / (keep if self.scaled else 1)


class TorchNoise(torch.nn.Module):
    def __init__(self, deviation, multiplies=False):
        super().__init__()
        self.deviation, self.multiplies = deviation, multiplies

    def forward(self, x):
        if not self.training:
            return x
        noise = self.deviation * torch.randn_like(x)
        return x * (1 + noise) if self.multiplies else x + noise


class Noise(nnx.Module):
    def __init__(self, deviation, multiplies=False, uniform=False):
        self.deviation, self.multiplies, self.uniform = deviation, multiplies, uniform
        self.rngs, self.deterministic = nnx.Rngs(8), False

    def __call__(self, x):
        if self.deterministic:
            return x
        if self.uniform:
            noise = jax.random.uniform(self.rngs(), x.shape, x.dtype, -(3**0.5), 3**0.5)
        else:
            noise = jax.random.normal(self.rngs(), x.shape, x.dtype)
        noise = self.deviation * noise
        return x * (1 + noise) if self.multiplies else x + noise


def probed(torch_model, flax_model, mode="train", seed=0, shape=SHAPE):
    """Give the probes of one mode, without the rest of a check."""
    sides = Engine.start(
        torch_model,
        flax_model,
        shape,
        seed=seed,
        mapping=None,
        objective="projection",
        perturbed=True,
        policy=Policy(),
    ).sides
    trace = sides.run_torch(mode, "float32", sides.reference.inputs)
    observed = sides.run_flax(mode, "float32")
    observed = with_draws(observed, sides.flax, sides.params, sides.state, sides.inputs, seed)
    alignment = align(trace, observed, sides.plan.modules, {})
    alignment = align(trace, observed, sides.plan.modules, pair_drawing(alignment, trace, observed))
    return probe_chance(sides, mode, alignment, trace, observed)


def found(probes):
    return [(probe.id, probe.torch, probe.flax) for probe in probes if probe.outcome == "differs"]


def nnx_dropout(rate, axes=(), **options):
    return nnx.Dropout(rate, broadcast_dims=axes, rngs=nnx.Rngs(5), **options)


ELEMENTS = "drops elements with probability 0.3, scales by 1.42857"
RIGHT = {
    "linen": (torch.nn.Dropout(0.3), Linen(linen.Dropout(0.3))),
    "nnx": (torch.nn.Dropout(0.3), Nnx(nnx_dropout(0.3))),
    "another name": (torch.nn.Dropout(0.3), Nnx(nnx_dropout(0.3), name="regulariser")),
    "channels": (torch.nn.Dropout2d(0.3), Nnx(nnx_dropout(0.3, (1, 2)))),
    "by hand": (torch.nn.Dropout(0.3), Linen(Masked(0.3))),
    "both by hand": (TorchMasked(0.2), Nnx(MaskedNnx(0.2))),
    "images": (StochasticDepth(0.1, "row"), Linen(Masked(0.1, (1, 2, 3)))),
    "rare images": (StochasticDepth(0.01, "row"), Linen(linen.Dropout(0.01, broadcast_dims=(1, 2, 3)))),
    "the whole batch": (StochasticDepth(0.4, "batch"), Nnx(MaskedNnx(0.4, (0, 1, 2, 3)))),
    "by a key that is handed over": (StochasticDepth(0.4, "batch"), Keyed(MaskedByKey())),
    "a mask for all examples": (TorchMasked(0.3, (0,)), Linen(Masked(0.3, (0,)))),
    "unscaled": (TorchMasked(0.3, (), False), Nnx(MaskedNnx(0.3, (), False))),
    "noise": (TorchNoise(0.5), Nnx(Noise(0.5))),
}
WRONG = {
    "never": (
        torch.nn.Dropout(0.3),
        Linen(linen.Dropout(0.3), never=True),
        ["rate"],
        ELEMENTS,
        "never drops",
    ),
    "never by hand": (TorchMasked(0.3), Nnx(MaskedNnx(0.0)), ["rate"], ELEMENTS, "never drops"),
    "always off": (torch.nn.Dropout(0.0), Nnx(MaskedNnx(0.3)), ["rate"], "never drops", ELEMENTS),
    "images": (torch.nn.Dropout(0.3), Linen(Masked(0.3, (1, 2, 3))), ["shape"], ELEMENTS, "whole images"),
    "channels": (torch.nn.Dropout(0.3), Nnx(nnx_dropout(0.3, (1, 2))), ["shape"], ELEMENTS, "whole channels"),
    "positions": (torch.nn.Dropout(0.3), Nnx(MaskedNnx(0.3, (3,))), ["shape"], ELEMENTS, "whole positions"),
    "elements": (torch.nn.Dropout2d(0.3), Nnx(nnx_dropout(0.3)), ["shape"], "whole channels", ELEMENTS),
    "for all": (TorchMasked(0.3), Linen(Masked(0.3, (0,))), ["shape"], ELEMENTS, "the same in every example"),
    "batch": (StochasticDepth(0.4, "row"), Nnx(MaskedNnx(0.4, (0, 1, 2, 3))), ["shape"], "images", "batch"),
    "0.35": (torch.nn.Dropout(0.3), Nnx(nnx_dropout(0.35)), ["rate"], ELEMENTS, "probability 0.35"),
    "the kept share": (torch.nn.Dropout(0.2), Linen(linen.Dropout(0.8)), ["rate"], "0.2", "probability 0.8"),
    "unscaled": (torch.nn.Dropout(0.3), Linen(Masked(0.3, (), False)), ["rate"], ELEMENTS, "does not scale"),
    "both unscaled, 0.35": (
        TorchMasked(0.3, (), False),
        Nnx(MaskedNnx(0.35, (), False)),
        ["rate"],
        "about 0.3, does not",
        "about 0.35, does not",
    ),
    "drop path": (StochasticDepth(0.2, "row"), Linen(Masked(0.2)), ["shape"], "whole images", "elements"),
    "drop path, kept share": (
        StochasticDepth(0.2, "row"),
        Nnx(MaskedNnx(0.8, (1, 2, 3))),
        ["rate"],
        "whole images with probability 0.2",
        "whole images with probability 0.8",
    ),
    "images, and more of them": (
        torch.nn.Dropout(0.3),
        Nnx(MaskedNnx(0.6, (1, 2, 3))),
        ["rate", "shape"],
        ELEMENTS,
        "drops whole images with probability 0.6",
    ),
    "all": (torch.nn.Dropout(1.0), Nnx(nnx_dropout(0.3)), ["rate"], "drops everything", ELEMENTS),
    "more noise": (TorchNoise(0.5), Nnx(Noise(0.65)), ["noise"], "random numbers", "random numbers"),
    "uniform noise": (TorchNoise(0.5), Nnx(Noise(0.5, uniform=True)), ["noise"], "random", "random"),
    "noise times the input": (
        TorchNoise(0.5),
        Nnx(Noise(0.5, multiplies=True)),
        ["noise"],
        "random",
        "random",
    ),
    "noise for a mask": (torch.nn.Dropout(0.3), Nnx(Noise(0.5)), ["noise"], ELEMENTS, "random numbers"),
}
IDS = {"rate": "dropout-rate", "shape": "dropout-shape", "noise": ""}


@pytest.mark.parametrize("case", RIGHT)
def test_layers_that_draw_alike_agree(case):
    drop, flax_model = RIGHT[case]
    probes = probed(Torch(drop), flax_model)
    assert [(probe.outcome, probe.mode) for probe in probes] == [("agrees", "train")]
    assert probes[0].message == (
        "1 random layer: what they drop, how often and how they scale, in 2000 examples each, "
        "at an error rate of 1e-06 for all"
    )


@pytest.mark.parametrize("case", WRONG)
def test_layers_that_draw_unlike_differ(case):
    drop, flax_model, whats, torch_words, flax_words = WRONG[case]
    probes = probed(Torch(drop), flax_model)
    differences = found(probes)
    assert [cause for cause, _, _ in differences] == [IDS[what] for what in whats]
    assert torch_words in differences[0][1]
    assert flax_words in differences[0][2]
    difference = next(probe for probe in probes if probe.outcome == "differs")
    assert difference.name == "drop"
    assert "error rate 1e-06" in difference.message


def test_the_fix_counts_axes_as_flax_does():
    probes = probed(Torch(torch.nn.Dropout2d(0.3)), Nnx(nnx_dropout(0.3)))
    assert "broadcast_dims=(1, 2), so that it drops whole channels" in [probe.fix for probe in probes]


def test_a_dropout_that_is_active_in_eval_differs():
    assert probed(Torch(torch.nn.Dropout(0.3)), Linen(linen.Dropout(0.3)), "eval") == []
    probes = probed(Torch(torch.nn.Dropout(0.3)), Linen(linen.Dropout(0.3), always=True), "eval")
    assert found(probes) == [("dropout-rate", "never drops", ELEMENTS)]


def test_without_random_layers_nothing_is_probed():
    assert probed(Torch(torch.nn.ReLU()), Nnx(nnx.relu)) == []


def test_long_examples_are_cut_and_whole_where_the_module_refuses():
    class Fixed(MaskedNnx):
        def __call__(self, x):
            return super().__call__(x.reshape(-1, 16, 16, 6))

    model = Torch(torch.nn.Dropout(0.3))
    assert [p.outcome for p in probed(model, Nnx(MaskedNnx(0.3)), shape="2x3x16x16")] == ["agrees"]
    probes = probed(model, Nnx(Fixed(0.3, (1, 2, 3))), shape="2x3x16x16")
    assert [cause for cause, _, _ in found(probes)] == ["dropout-shape"]


def test_a_module_that_cannot_be_run_alone_is_unprobed():
    class Fixed(MaskedNnx):
        def __call__(self, x):
            return super().__call__(x.reshape(2, 4, 3, 6))

    probes = probed(Torch(torch.nn.Dropout(0.3)), Nnx(Fixed(0.3)))
    assert [(probe.outcome, probe.name) for probe in probes] == [("unprobed", "drop")]
    assert "could not be run alone" in probes[0].message


class WrittenOut(torch.nn.Module):
    """Draws in its own forward, between the layers."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(3, 6, 1), torch.nn.Conv2d(6, 5, 1)

    def forward(self, x):
        x = self.conv1(x)
        return self.conv2(x * (torch.rand_like(x) > 0.3) / 0.7 if self.training else x)


class Plain(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv1 = nnx.Conv(3, 6, (1, 1), rngs=rngs)
        self.conv2 = nnx.Conv(6, 5, (1, 1), rngs=rngs)

    def __call__(self, x):
        return self.conv2(self.conv1(x))


def test_random_numbers_outside_of_paired_layers_are_named():
    (one_sided,) = probed(WrittenOut(), Plain())
    assert one_sided.outcome == "differs"
    assert one_sided.message == "PyTorch draws random numbers in the model itself, and Flax draws none there"
    (one_sided,) = probed(Torch(torch.nn.Identity()), Nnx(nnx_dropout(0.3), name="late"))
    assert one_sided.message == "Flax draws random numbers in late, and PyTorch draws none there"
    (unpaired,) = probed(WrittenOut(), Nnx(nnx_dropout(0.3)))
    assert unpaired.outcome == "unprobed"
    assert "in PyTorch in the model itself and in Flax in drop" in unpaired.message


def test_layers_by_hand_of_other_names_run_under_one_mask():
    right = parity.check(Torch(TorchMasked(0.3)), Nnx(MaskedNnx(0.3), name="other"), "2x3x2x2", mode="train")
    assert (right.verdict, right.causes) == ("equivalent", ())


def test_the_verdict_is_of_what_the_layers_draw():
    drop = MaskedNnx(0.3, (1, 2, 3))
    wrong = parity.check(Torch(torch.nn.Dropout(0.3)), Nnx(drop), "2x3x2x2", mode="train", sizes="same")
    assert wrong.verdict == "divergent"
    assert (wrong.first_divergence.layer, wrong.first_divergence.mode) == ("drop", "train")
    assert [(cause.id, cause.layer) for cause in wrong.causes] == [("dropout-shape", "drop")]


def masks(generator, p, shape, axes=(), scale=None):
    """Draw factors as a module would, on calls of examples of a shape."""
    lengths = [CALLS, *(1 if axis in axes else n for axis, n in enumerate((EXAMPLES, *shape)))]
    kept = np.broadcast_to(generator.random(lengths) >= p, (CALLS, EXAMPLES, *shape))
    return (kept * np.float32(1 / (1 - p) if scale is None else scale)).astype(np.float32)


def draws(outputs):
    return Draws.of(outputs, np.ones(outputs.shape[1:], np.float32), 1.2e-7, False)


@pytest.mark.exhaustive
@pytest.mark.parametrize("axes", [(), (1,), (2, 3), (1, 2, 3), (0,), (0, 1, 2, 3)])
def test_equal_distributions_raise_no_alarm_at_their_level(axes):
    generator = np.random.default_rng(len(axes))
    alarms = 0
    for trial in range(200):
        p, scale = generator.uniform(0.005, 0.95), [None, 1.0][trial % 2]
        pair = [draws(masks(generator, p, (3, 2, 4), axes, scale)) for _ in range(2)]
        alarms += bool(unlike(*pair, level=1e-3))
    # At most 16 tests of 1e-3 each: three alarms are expected of 200 at the most, and more than 12 never.
    assert alarms <= 12


@pytest.mark.exhaustive
def test_two_hundred_right_pairs_raise_no_alarm():
    for seed in range(200):
        case = list(RIGHT)[seed % len(RIGHT)]
        drop, flax_model = RIGHT[case]
        probes = probed(Torch(drop), flax_model, seed=seed)
        assert [probe.outcome for probe in probes] == ["agrees"], (case, seed)


def test_what_was_dropped_is_named_on_every_layout():
    generator = np.random.default_rng(0)
    cases = {
        (): "elements",
        (2, 3): "whole channels",
        (1,): "whole positions",
        (1, 2, 3): "whole images",
        (0, 1, 2, 3): "the whole batch at once",
        (0,): "elements, the same in every example",
        (2,): "slices along the axes 2",
    }
    for axes, words in cases.items():
        assert f"drops {words} with" in draws(masks(generator, 0.3, (3, 2, 4), axes)).words()


def test_rare_drops_of_images_and_blocks_are_told_apart():
    generator = np.random.default_rng(1)
    pair = functools.partial(masks, generator, 0.05, (3, 4, 4))
    assert [u.what for u in unlike(draws(pair()), draws(pair(axes=(1, 2, 3))), LEVEL)] == ["shape"]
    blocks = masks(generator, 0.3, (3, 4, 2)).repeat(2, axis=4)
    assert [u.what for u in unlike(draws(masks(generator, 0.3, (3, 4, 4))), draws(blocks), LEVEL)] == [
        "shape"
    ]
    columns = masks(generator, 0.3, (3, 2, 4)).repeat(2, axis=3)
    assert [u.what for u in unlike(draws(columns), draws(blocks), LEVEL)] == ["shape"]


@pytest.mark.parametrize(("axes", "p"), [((), 0.3), ((2, 3), 0.2), ((1, 2, 3), 0.2)])
def test_a_draw_that_every_call_repeats_is_no_draw(axes, p):
    generator = np.random.default_rng(2)
    anew = draws(masks(generator, p, (3, 2, 4), axes))
    once = masks(generator, p, (3, 2, 4), axes)
    fixed = draws(np.broadcast_to(once[:1], once.shape))
    (found,) = unlike(anew, fixed, LEVEL)
    assert (
        found.what == "shape" and found.flax.endswith("the same in each call") and "call" not in found.torch
    )
    assert not unlike(fixed, fixed, LEVEL)


def test_rare_drops_of_the_whole_batch_may_repeat_by_chance():
    generator = np.random.default_rng(3)
    seldom = draws(masks(generator, 0.05, (3, 2, 4), (0, 1, 2, 3)))
    never = draws(np.full(seldom.outputs.shape, seldom.kept, np.float32))
    assert not unlike(seldom, never, 1e-9)


LAWS = {
    "normal": lambda generator, shape: generator.standard_normal(shape),
    "uniform": lambda generator, shape: generator.uniform(-(3**0.5), 3**0.5, shape),
    "Laplace": lambda generator, shape: generator.laplace(0, 0.5**0.5, shape),
}


@pytest.mark.parametrize("law", LAWS)
def test_noise_of_another_law_is_told_from_noise_of_the_same_deviation(law):
    generator = np.random.default_rng(0)
    inputs = 3 * generator.standard_normal((EXAMPLES, 11))
    sides = [
        Draws.of(inputs * (1 + 0.3 * LAWS[name](generator, (CALLS, *inputs.shape))), inputs, 1.2e-7, True)
        for name in ("normal", law)
    ]
    assert [difference.what for difference in unlike(*sides, LEVEL)] == ["noise"] * (law != "normal")
