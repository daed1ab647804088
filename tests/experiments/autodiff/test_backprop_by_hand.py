"""Backpropagation by hand: right by finite differences and by PyTorch, red when a rule is wrong, and a whole page."""

import dataclasses
import json
import re
import sys

import jax
import numpy as np
import pytest

from experiments import record
from experiments.autodiff.backprop_by_hand import __main__ as command
from experiments.autodiff.backprop_by_hand import chain_rule, comparing, network, page, study, terminal
from experiments.autodiff.backprop_by_hand.by_torch import by_torch
from experiments.autodiff.backprop_by_hand.rules import RULES, SYMBOLS
from flaxcnn.ops import batch_moments


@pytest.fixture(scope="module")
def computed():
    return study.run(seed=1)


@pytest.fixture
def recompiled(monkeypatch):
    """Compile the pass by hand anew, so that a rule that the test replaces is used."""

    def planted(name, rule):
        monkeypatch.setattr(network, name, rule)

        def fresh(*inputs):  # JAX keeps what it compiled of a function it knows
            return network.both_ways(*inputs)

        monkeypatch.setattr(network, "compiled", jax.jit(fresh))

    return planted


def loss_of(params, x, labels):
    """The loss alone, in NumPy, from the definitions: loops over taps and windows."""

    def convolve(image, kernel, stride):
        padded = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
        size = (image.shape[1] - 1) // stride + 1
        last = stride * (size - 1) + 1
        return sum(
            padded[:, a : a + last : stride, b : b + last : stride] @ kernel[a, b]
            for a in range(3)
            for b in range(3)
        )

    z1 = convolve(x, params["conv1.weight"], 1)
    u = (z1 - z1.mean((0, 1, 2))) / np.sqrt(z1.var((0, 1, 2)) + 1e-5)
    a1 = np.maximum(u * params["norm.weight"] + params["norm.bias"], 0)
    p1 = np.max([a1[:, a::2, b::2] for a in (0, 1) for b in (0, 1)], axis=0)
    a2 = np.maximum(convolve(p1, params["conv2.weight"], 2) + params["conv2.bias"], 0)
    z3 = a2.transpose(0, 3, 1, 2).reshape(len(x), -1) @ params["dense.weight"] + params["dense.bias"]
    log_p = z3 - np.log(np.exp(z3).sum(1, keepdims=True))
    return -(0.9 * log_p[np.arange(len(x)), labels] + 0.1 * log_p.mean(1)).mean()


def test_the_chain_rule_by_hand_is_that_of_the_worked_example():
    by_hand = chain_rule.by_hand({"w": 3.0, "x": 2.0, "y": 1.0})
    assert by_hand == {
        "u": 6.0, "e": 5.0, "l": 25.0, "dl/de": 10.0, "dl/du": 10.0, "dl/dy": -10.0, "dl/dw": 20.0, "dl/dx": 30.0,
    }  # fmt: skip


def test_a_wrong_chain_rule_contradicts_the_central_difference_and_the_judge(computed, monkeypatch):
    assert computed.difference_holds
    wrong = dict(
        computed.chain["hand"]["float64"], **{"dl/dw": computed.chain["hand"]["float64"]["dl/dw"] + 1e-9}
    )
    chain = computed.chain | {"hand": computed.chain["hand"] | {"float64": wrong}}
    assert not dataclasses.replace(computed, chain=chain).difference_holds
    report = comparing.judged(chain_rule.compared(chain))
    assert (report.verdict, report.first_divergence.layer) == ("divergent", "dl/dw")


def test_every_gradient_by_hand_is_a_finite_difference_of_the_loss(computed):
    x, labels = network.digits()
    random = np.random.default_rng(0)
    # On blank paper the pixels of a window are equal, and the loss has no derivative by them: soil it a little.
    everything = computed.params | {"x": x + random.uniform(0, 0.1, x.shape)}
    hand = network.by_hand(computed.params, everything["x"], labels)
    assert loss_of(computed.params, everything["x"], labels) == pytest.approx(float(hand.loss), rel=1e-13)
    for name, gradient in (hand.gradients | {"x": hand.signals["x"]}).items():
        direction = random.normal(size=gradient.shape)
        h = 1e-7  # so small that no ReLU and no maximum changes sides
        losses = []
        for sign in (1, -1):
            moved = everything | {name: everything[name] + sign * h * direction}
            losses.append(loss_of(moved, moved["x"], labels))
        expected = (losses[0] - losses[1]) / (2 * h)
        # The difference of two losses near 2.3 is rounded by about 1e-15, which 2h enlarges to about 1e-8.
        assert np.vdot(gradient, direction) == pytest.approx(expected, rel=1e-7, abs=3e-8), name
        assert abs(expected) > 1e-4, name


def test_every_signal_and_gradient_by_hand_is_pytorchs(computed):
    x, labels = network.digits()
    torch, hand = by_torch(computed.params, x, labels), computed.passes["hand"]["float64"]
    assert hand.signals.keys() == set(network.TENSORS) == torch.signals.keys()
    assert hand.gradients.keys() == network.SHAPES.keys() == torch.gradients.keys()
    for actual, wanted in ((hand.signals, torch.signals), (hand.gradients, torch.gradients)):
        for name, expected in wanted.items():
            largest = np.abs(expected).max()
            assert largest > 0, name
            np.testing.assert_allclose(actual[name], expected, rtol=0, atol=1e-13 * largest, err_msg=name)


def test_hand_jax_and_torch_agree_and_the_loss_falls(computed):
    assert computed.equivalent
    assert computed.margin > 1
    assert {row.name for row in computed.rows if row.kind == "signal"} == set(network.TENSORS)
    losses = computed.descents["hand"]["float64"].losses
    assert losses[-1] < 0.9 * losses[0]


def without_mean(cotangent, x, scale, *, epsilon):
    """Batch normalisation's rule without the term in S, the classic mistake."""
    _, variance, _ = batch_moments(x)
    dx, dscale, dbias = RIGHT(cotangent, x, scale, epsilon=epsilon)
    inverse = jax.lax.rsqrt(variance + epsilon) * scale
    count = x.size // x.shape[-1]
    return dx + (inverse * dbias / count)[None, None, None, :], dscale, dbias


RIGHT = network.batch_norm_backward
PLANTED = {
    "norm": ("batch_norm_backward", without_mean),
    "relu2": ("relu_backward", lambda cotangent, x: cotangent),
    "pool": (
        "max_pool2d_backward",
        lambda cotangent, x, window: cotangent.repeat(2, axis=1).repeat(2, axis=2) / 4,
    ),
    "flatten": ("unflatten", lambda delta, shape: delta.reshape(shape)),
    "loss": (
        "cross_entropy_backward",
        lambda one, z, labels, label_smoothing: (
            (jax.nn.softmax(z) - jax.nn.one_hot(labels, z.shape[1], dtype=z.dtype)) / len(z)
        ),
    ),
}


@pytest.mark.parametrize(
    "layer", [pytest.param(name, marks=[] if name == "norm" else pytest.mark.slow) for name in PLANTED]
)
def test_a_wrong_rule_is_found_in_its_layer(layer, computed, recompiled):
    recompiled(*PLANTED[layer])
    x, labels = network.digits()
    hand = {dtype: network.by_hand(computed.params, x, labels, dtype) for dtype in comparing.DTYPES}
    passes = computed.passes | {"hand": hand}
    report = comparing.compare(passes)
    assert report.verdict == "divergent"
    assert report.first_divergence.layer == layer
    # What lies before the mistake on the way back is untouched by it.
    equal = {row.layer: row.equal for row in comparing.rows(passes, report) if row.kind == "signal"}
    order = [rule.layer for rule in RULES]
    assert all(equal[name] for name in order[order.index(layer) + 1 :])
    assert not any(equal[name] for name in order[: order.index(layer) + 1])


def test_the_initial_weights_put_scale_and_bias_to_the_test():
    params = network.initial_parameters()
    assert np.ptp(params["norm.weight"]) > 0.1
    assert np.ptp(params["norm.bias"]) > 0.1
    assert network.by_hand(params, *network.digits()).loss.dtype == np.float64


def test_the_page_shows_every_layer_and_needs_nothing_but_itself(computed):
    text = page.page(computed)
    for rule in RULES:
        assert f'id="{rule.layer}"' in text
        assert f"δ{SYMBOLS[rule.input]} by hand" in text
        for gradient in rule.parameters.values():
            assert gradient.partition(" =")[0] in text
    for row in computed.rows:
        assert row.formula.replace(">", "&gt;").replace("'", "&#x27;") in text
    assert len(re.findall(r'src="data:image/png;base64,', text)) >= 5 * len(RULES)
    assert not re.findall(r"https?://|<script|<link|@import|src=\"(?!data:)|url\((?!#)", text)
    assert "prefers-color-scheme: dark" in text


def test_the_page_says_what_is_wrong(computed, recompiled):
    recompiled(*PLANTED["norm"])
    x, labels = network.digits()
    hand = {dtype: network.by_hand(computed.params, x, labels, dtype) for dtype in comparing.DTYPES}
    passes = computed.passes | {"hand": hand}
    reports = computed.reports | {"network": comparing.compare(passes)}
    red = dataclasses.replace(computed, passes=passes, reports=reports)
    assert not red.equivalent
    text = page.page(red)
    assert '<span class="verdict divergent">divergent</span>' in text
    assert 'class="end different"' in text


def test_the_command_writes_page_picture_and_record(computed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(study, "run", lambda: computed)
    monkeypatch.setattr(sys, "argv", ["backprop_by_hand", "--out", str(tmp_path / "a" / "b")])
    assert command.main() == 0
    assert (tmp_path / "a" / "b" / page.NAME).read_text().endswith("</html>\n")
    assert (tmp_path / "results" / "backprop_by_hand.png").stat().st_size > 10_000
    text = (tmp_path / "results" / "backprop_by_hand.json").read_text()
    stored = json.loads(text, parse_constant=pytest.fail)
    assert stored["equivalent"] is True
    assert len(stored["network"]) == len(computed.rows)
    assert terminal.recorded_table().count("\n| `") == len(network.TENSORS) + len(network.SHAPES)
    assert "network: equivalent" in capsys.readouterr().out


@pytest.mark.parametrize("inside", [False, True])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(inside, tmp_path, monkeypatch, capsys):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setattr(study, "run", lambda: pytest.fail("the work was done first"))
    monkeypatch.setattr(sys, "argv", ["backprop_by_hand", "--out", str(file / "in" if inside else file)])
    assert command.main() == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cannot be written" in said
