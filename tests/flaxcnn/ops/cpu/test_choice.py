"""The rule that is chosen for a convolution, and the rules that may be allowed."""

import jax
import jax.numpy as jnp
import pytest

from flaxcnn.ops.cpu import choice, parts
from flaxcnn.ops.cpu.choice import RULES, fast_rules
from flaxcnn.ops.geometry import axes


def test_each_rule_is_chosen_where_it_pays(monkeypatch):
    monkeypatch.setattr("flaxcnn.ops.cpu.onednn_support.is_usable", lambda: True)

    def rules(size, kernel, stride=1, padding=1, groups=1, dtype=jnp.float32, allowed=RULES, images=64):
        spatial = axes((1, size, size, kernel[2] * groups), kernel[:2], stride=stride, padding=padding)
        case = choice.Case(images, kernel[2:], spatial, groups, dtype)
        every = choice.CONVOLUTION, choice.INPUT_GRADIENT, choice.KERNEL_GRADIENT
        return tuple(
            choice.rule_of(case, candidates, choice.Allowed(frozenset(allowed))) for candidates in every
        )

    assert rules(32, (3, 3, 64, 64)) == ("winograd", "winograd", "winograd_kernel_gradient")
    assert rules(8, (3, 3, 256, 256)) == ("winograd", "winograd", "winograd_kernel_gradient")
    assert rules(4, (3, 3, 512, 512)) == ("winograd", "winograd", "winograd_kernel_gradient")
    assert rules(32, (3, 3, 64, 64), padding=3) == ("winograd", "plain", "winograd_kernel_gradient")
    assert rules(16, (3, 3, 64, 128), stride=2) == ("onednn", "phases", "patches")
    assert rules(16, (1, 1, 64, 128), stride=2, padding=0) == ("matmul", "matmul", "matmul")
    assert rules(32, (3, 3, 64, 64), groups=2, allowed=choice.USUAL) == ("plain", "plain", "plain")
    assert rules(32, (3, 3, 64, 64), groups=2) == ("onednn", "onednn", "plain")
    assert rules(16, (3, 3, 64, 64), groups=2, stride=2) == ("onednn", "phases", "plain")
    assert rules(16, (3, 3, 64, 64), stride=2, dtype=jnp.float64) == ("plain", "phases", "patches")
    assert rules(32, (3, 3, 64, 64), allowed=("phases",)) == ("plain", "plain", "plain")
    for by_library in (
        rules(4, (3, 3, 64, 64), images=256),
        rules(32, (3, 3, 3, 64)),
        rules(32, (3, 3, 32, 64)),
        rules(32, (5, 5, 64, 64)),
    ):
        assert by_library == ("onednn", "onednn", "plain")
    for plain in (
        rules(8, (3, 3, 128, 128), images=2),
        rules(32, (3, 3, 64, 64), dtype=jnp.bfloat16),
        rules(32, (3, 3, 64, 64), allowed=()),
    ):
        assert plain == ("plain", "plain", "plain")


def test_a_jaxlib_without_the_library_is_left_to_the_plain_rules(monkeypatch):
    monkeypatch.setattr("flaxcnn.ops.cpu.onednn_support.is_usable", lambda: False)
    spatial = axes((1, 16, 16, 8), 3, stride=1, padding=1)
    case = choice.Case(2, (8, 8), spatial, 1, jnp.float32)
    assert choice.rule_of(case, choice.CONVOLUTION, choice.Allowed()) == "plain"
    assert choice.rule_of(case, choice.INPUT_GRADIENT, choice.Allowed()) == "plain"
    lowered = jax.jit(parts.outer_products).lower(*[jax.ShapeDtypeStruct((5, 4), jnp.float32)] * 2)
    assert "onednn" not in lowered.as_text()


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="fast_rules got wino; the rules are winograd, "), fast_rules("wino"):
        pass
