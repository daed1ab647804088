"""Losses: right ones pass, one that is broken on purpose turns red."""

import functools

import jax.numpy as jnp

from flaxcnn import ops
from flaxcnn.train import mix
from parity.suites.losses import runs as loss_runs
from parity.suites.losses.cases import HEIGHT, LABELS, REDUCTIONS, WIDTH, loss_cases, objective_options
from parity.suites.running import run_case

CASES = {case.name: case for case in loss_cases()}


def test_smoothing_over_the_other_classes_only_turns_red(monkeypatch):
    original = ops.cross_entropy

    @functools.wraps(original)
    def elsewhere(logits, labels, **options):
        smoothing, classes = options.pop("label_smoothing"), logits.shape[-1]
        # (1 - s) y + s (1 - y) / (k - 1) is (1 - s') y + s' / k with another s'.
        return original(
            logits, labels, label_smoothing=min(1.0, smoothing * classes / (classes - 1)), **options
        )

    monkeypatch.setattr(ops, "cross_entropy", elsewhere)
    outcome = run_case(CASES["cross_entropy_grid-02"])
    assert outcome.result == "divergent"
    assert "first at setting 2 (forward, loss" in outcome.sentence


def test_a_share_of_the_partner_instead_turns_red(monkeypatch):
    original = mix.mixup_with
    monkeypatch.setattr(mix, "mixup_with", lambda x, y, lam, partner: original(x, y, 1.0 - lam, partner))
    outcome = run_case(CASES["mixup-02"])
    assert outcome.result == "divergent"
    assert "first at objective 0 (forward, images" in outcome.sentence


def test_targets_blended_before_the_rectangle_is_clipped_turn_red(monkeypatch):
    """The share that was drawn, not the one that is left: only the targets differ."""
    original, boxed = mix.cutmix_with, mix.cutmix_box
    kept = {}

    def box(lam, *arguments):
        kept["lam"] = lam
        return boxed(lam, *arguments)

    def unclipped(images, probs, box, partner):
        return original(images, probs, box, partner)[0], mix.blend(probs, kept["lam"], partner)

    monkeypatch.setattr(mix, "cutmix_box", box)
    monkeypatch.setattr(mix, "cutmix_with", unclipped)
    outcome = run_case(CASES["cutmix-02"])
    assert outcome.result == "divergent"
    assert "first at objective 0 (forward, targets" in outcome.sentence


def test_a_pull_on_weights_that_are_zero_turns_red(monkeypatch):
    def pulled(params):
        return sum(jnp.sum(jnp.abs(p)) for p in params.values())

    monkeypatch.setattr(ops, "l1_penalty", pulled)
    outcome = run_case(CASES["penalties-01"])
    assert outcome.result == "divergent"
    assert "(backward, gradient of the weight" in outcome.sentence


def test_every_option_occurs():
    grid = [case.detail for name, case in CASES.items() if name.startswith("cross_entropy")]
    assert len(grid) == len(LABELS) * len(REDUCTIONS)
    settings = loss_runs.grid({"reduction": "mean"})
    assert {setting["label_smoothing"] for setting in settings} == set(loss_runs.SMOOTHING)
    assert {setting["weighted"] for setting in settings} == {True, False}
    for group in ("penalties", "mixup", "cutmix"):
        cases = objective_options(group)
        assert any(case["l1"] and case["l2"] and case["label_smoothing"] for case in cases)
        assert any(case["padded"] for case in cases)
        assert not all(case["padded"] for case in cases)


def test_some_rectangles_lie_inside_the_image_and_some_are_clipped():
    clipped = set()
    for options in objective_options("cutmix"):
        lam, x, y = loss_runs.drawn_by_torchvision(options, HEIGHT, WIDTH)
        half = 0.5 * (1 - lam) ** 0.5
        sides = int(half * WIDTH), int(half * HEIGHT)
        if min(sides) > 0:
            clipped.add(x < sides[0] or y < sides[1] or x + sides[0] > WIDTH or y + sides[1] > HEIGHT)
    assert clipped == {True, False}
