"""The explanations of the page: the chain rule, the recursion, and the layers one by one."""

import inspect

import numpy as np

from experiments.autodiff.backprop_by_hand import chain_rule, network, tiles
from experiments.autodiff.backprop_by_hand.rules import RULES, SYMBOLS, LayerRule
from experiments.autodiff.backprop_by_hand.study import EXAMPLE, Study
from parity.report.html.markup import Child, Markup, element

WAYS = ("hand", "jax", "torch")


def paragraph(*words: Child) -> Markup:
    """A paragraph."""
    return element("p", *words)


def formula(words: Child, class_: str = "formula") -> Markup:
    """A formula on a line of its own."""
    return element("p", words, class_=class_)


def chain_rule_words() -> list[Markup]:
    """The chain rule, on the smallest network there is: one weight."""
    point = ", ".join(f"{name} = {value}" for name, value in chain_rule.POINT.items())
    return [
        paragraph(
            "One weight w, one input x, one target y. The loss (w x − y)² is three small functions in a row, and "
            "each has a derivative that is easy to see:"
        ),
        formula("u = w x        e = u − y        l = e²"),
        formula("∂u/∂w = x,  ∂u/∂x = w        ∂e/∂u = 1,  ∂e/∂y = −1        dl/de = 2 e"),
        paragraph(
            "The chain rule multiplies them along the way from the loss back to whatever one asks about. Each "
            "product is the one before it times one more factor, so nothing is computed twice: that is "
            f"backpropagation. Blue arrows go forward, orange arrows back; the numbers are those at {point}."
        ),
    ]


def recursion() -> list[Markup]:
    """The recursion for the error signal, derived."""
    return [
        paragraph(
            "A layer of a network is no more than that, with vectors. Layer l takes the activations of the layer "
            "before it, mixes them linearly, and bends the result:"
        ),
        formula(
            Markup(
                "z<sub>l</sub> = W<sub>l</sub> a<sub>l−1</sub> + b<sub>l</sub>,  a<sub>l</sub> = f(z<sub>l</sub>)"
            )
        ),
        paragraph(
            "Call ",
            _inline("δ<sub>l</sub> = ∂L/∂z<sub>l</sub>"),
            " the error signal of layer l: how much the loss changes when z does. z",
            Markup("<sub>l</sub>"),
            " acts on the loss only through the next layer, ",
            _inline("z<sub>l+1</sub> = W<sub>l+1</sub> f(z<sub>l</sub>) + b<sub>l+1</sub>"),
            ", so that entry j of it has, by the chain rule, summed over all entries k that it reaches,",
        ),
        formula(
            Markup(
                "∂L/∂z<sub>l,j</sub> = Σ<sub>k</sub> ∂L/∂z<sub>l+1,k</sub> · ∂z<sub>l+1,k</sub>/∂z<sub>l,j</sub> "
                "= Σ<sub>k</sub> δ<sub>l+1,k</sub> · W<sub>l+1,kj</sub> · f′(z<sub>l,j</sub>)"
            )
        ),
        paragraph("The sum over k is a product with the transposed matrix. In one line:"),
        formula(
            Markup("δ<sub>l</sub> = (W<sub>l+1</sub><sup>T</sup> δ<sub>l+1</sub>) ⊙ f′(z<sub>l</sub>)"),
            "formula big",
        ),
        paragraph(
            "where ⊙ multiplies entry by entry. And the parameters, on the way, since z is linear in them:"
        ),
        formula(
            Markup(
                "∂L/∂W<sub>l</sub> = δ<sub>l</sub> a<sub>l−1</sub><sup>T</sup>,  ∂L/∂b<sub>l</sub> = δ<sub>l</sub>"
            )
        ),
        paragraph(
            "Everything else is a variation. Convolution is a W with repeated entries; pooling is a W of zeros and "
            "ones that the data choose; batch normalisation ties the images of a batch together. Each only needs its "
            "own way to multiply by the transposed matrix."
        ),
    ]


def _inline(words: str) -> Markup:
    return element("span", Markup(words), class_="formula")


def layers(study: Study) -> list[Markup]:
    """Every layer from the loss back to the image: its rule, why, and the error signal at its input."""
    return [_layer(rule, study) for rule in reversed(RULES)]


def _layer(rule: LayerRule, study: Study) -> Markup:
    symbol = SYMBOLS[rule.input]
    matrices = [tiles.as_matrix(study.passes[way]["float64"].signals[rule.input], EXAMPLE) for way in WAYS]
    value = tiles.as_matrix(study.passes["hand"]["float64"].values[rule.input], EXAMPLE)
    largest = float(np.nanmax(np.abs(value)))
    maps = [tiles.figure(value, symbol, "value", largest), *tiles.row(*matrices, f"δ{symbol}")]
    formulas = [rule.backward, *rule.parameters.values()]
    return element(
        "article",
        element("h3", rule.layer, element("span", rule.kind, class_="hint")),
        formula(rule.forward),
        element("div", [formula(words) for words in formulas], class_="rule"),
        [formula(words.strip("*")) if words.startswith("*") else paragraph(words) for words in rule.why],
        element("div", maps, class_="maps"),
        _parameters(rule, study),
        class_="layer",
        id=rule.layer,
    )


def _parameters(rule: LayerRule, study: Study) -> Markup | None:
    if not rule.parameters:
        return None
    blocks = []
    for name, words in rule.parameters.items():
        matrices = [tiles.parameter_as_matrix(study.passes[way]["float64"].gradients[name]) for way in WAYS]
        value = tiles.parameter_as_matrix(study.params[name])
        symbol = words.partition(" =")[0].partition("[")[0]
        first = tiles.figure(value, name, "value", float(np.nanmax(np.abs(value))))
        blocks.append(element("div", [first, *tiles.row(*matrices, symbol)], class_="maps"))
    return element("details", element("summary", "gradients of the parameters"), blocks)


def code() -> Markup:
    """The source of the two functions that compute all this."""
    source = inspect.getsource(network.forward) + "\n\n" + inspect.getsource(network.backward)
    return element("pre", element("code", source))
