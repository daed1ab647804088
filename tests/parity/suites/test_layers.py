"""Layers through the instrument: right ones pass, one that is broken on purpose turns red."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flaxcnn import ops
from flaxcnn.ops.cpu import bilinear, onednn, onednn_support
from parity.suites import all_cases
from parity.suites.running import run_case
from parity.suites.selection import select

CASES = all_cases()


def outcome_of(name):
    (case,) = select(CASES, [name])
    return run_case(case)


def changed(monkeypatch, name, **options):
    """Call an op of flaxcnn with some options changed."""
    original = getattr(ops, name)

    @functools.wraps(original)
    def mutant(*arguments, **given):
        return original(*arguments, **given | options)

    monkeypatch.setattr(ops, name, mutant)


def test_a_convolution_that_pads_elsewhere_turns_red(monkeypatch):
    (case,) = select(CASES, ["conv-05"])
    assert "by hand" not in case.detail
    original = ops.conv2d

    def shifted(x, *arguments, **options):
        return original(jnp.roll(x, 1, axis=2), *arguments, **options)

    monkeypatch.setattr(ops, "conv2d", shifted)
    outcome = run_case(case)
    assert outcome.result == "divergent"
    assert "first at layer (forward, output, eval mode)" in outcome.sentence
    assert outcome.margin < 1e-6


def test_an_epsilon_off_by_a_millionth_turns_red(monkeypatch):
    changed(monkeypatch, "batch_norm", epsilon=1e-5 + 1e-11)
    outcome = outcome_of("batch_norm-04")
    assert outcome.result == "divergent"
    assert "first at layer (forward, output" in outcome.sentence


def test_an_op_that_raises_is_refused_and_named(monkeypatch):
    def broken(*arguments, **options):
        raise ValueError("broken on purpose")

    monkeypatch.setattr(ops, "dense", broken)
    outcome = outcome_of("dense-01")
    assert outcome.result == "refused"
    assert "in the module 'layer': broken on purpose" in outcome.sentence


@pytest.fixture
def computed(monkeypatch):
    """The names of the rules that compute convolutions and their gradients, as they are traced."""
    names = []
    original = bilinear.rule_of

    def noted(*arguments):
        names.append(original(*arguments))
        return names[-1]

    monkeypatch.setattr(bilinear, "rule_of", noted)
    return names


@pytest.mark.parametrize("by_hand", [False, True])
def test_the_instrument_judges_the_fast_rules_and_not_the_plain_ones(computed, by_hand):
    """Of the drawn cases the first strided and the first unstrided one of 3x3, both ways, as they are lowered."""
    for stride in (1, 2):
        cases = [c for c in CASES if c.group == "fast_conv" and ("by hand" in c.detail) == by_hand]
        pair = next(c for c in cases if f"kernel 3, stride {stride}" in c.detail).build()
        graph, state = nnx.split(pair.flax)

        def loss(state, images, graph=graph):
            return jnp.sum(nnx.merge(graph, state)(images) ** 2)

        with onednn.never_stored():
            images = jnp.asarray(np.moveaxis(pair.inputs[0], 1, -1))
            jax.jit(jax.grad(loss, argnums=(0, 1))).lower(state, images)
    onednn_is_here = {"onednn"} if onednn_support.is_available() else set()
    # A gradient by hand is made of convolutions.
    gradients = set() if by_hand else {"winograd_kernel_gradient", "phases", "patches"}
    expected = {"winograd"} | gradients | onednn_is_here
    assert set(computed) >= expected, set(computed)


def test_the_cases_of_the_fast_rules_reach_winograd_and_1x1_products():
    details = [case.detail for case in CASES if case.group == "fast_conv"]
    for kernel, stride in ((3, 1), (3, 2), (1, 1), (1, 2)):
        assert sum(f"kernel {kernel}, stride {stride}" in detail for detail in details) >= 3
