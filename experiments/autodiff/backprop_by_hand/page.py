"""The page that a student reads: one HTML file that needs nothing but itself."""

from pathlib import Path

from experiments.autodiff.backprop_by_hand import chain_rule, drawing, prose, tiles
from experiments.autodiff.backprop_by_hand.comparing import Row
from experiments.autodiff.backprop_by_hand.descent import LEARNING_RATE, STEPS
from experiments.autodiff.backprop_by_hand.study import EXAMPLE, Study
from experiments.autodiff.backprop_by_hand.style import STYLE
from parity.files import write_text
from parity.report.html.markup import Child, Markup, element
from parity.report.wording import margin, number

NAME = "backprop_by_hand.html"


def write(study: Study, folder: Path) -> Path:
    """Write the page into a folder.

    Raises:
        CannotCompare: the file cannot be written.
    """
    return write_text(folder / NAME, page(study))


def page(study: Study) -> str:
    """The whole page."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", "Backpropagation by hand"),
        element("style", Markup(STYLE)),
    )
    body = element(
        "body",
        _banner(study),
        _chapter("1. The chain rule", prose.chain_rule_words(), *_chain(study)),
        _chapter("2. The recursion", prose.recursion()),
        _chapter("3. The network", *_network(study)),
        _chapter("4. Back, layer by layer", *_layers(study)),
        _chapter("5. Every tensor", *_table(study)),
        _chapter("6. And it learns", *_descent(study)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _chapter(title: str, *children: Child) -> Markup:
    return element("section", element("h2", title), *children, class_="card")


def _banner(study: Study) -> Markup:
    verdict = "equivalent" if study.equivalent else "divergent"
    environment = study.reports["network"].environment
    facts = {
        "tensors compared": f"{len(study.rows)}, each with JAX's and PyTorch's",
        "widest gap": f"fits {margin(study.margin)} into what rounding explains",
        "images": f"{len(study.labels)} handwritten digits of scikit-learn",
        "versions": f"jax {environment['jax']}, torch {environment['torch']}",
    }
    return element(
        "header",
        element("p", "python -m experiments.autodiff.backprop_by_hand", class_="kicker"),
        element("h1", "Backpropagation by hand", element("span", verdict, class_=f"verdict {verdict}")),
        prose.paragraph(
            "How does a network know which way to change each of its weights? By the chain rule, applied from the "
            "loss backwards. This page does it by hand, first for one weight, then for a small convolutional "
            "network, and lays every number beside what jax.grad and torch.autograd find."
        ),
        element(
            "dl",
            [element("div", element("dt", name), element("dd", words)) for name, words in facts.items()],
            class_="facts",
        ),
    )


def _chain(study: Study) -> list[Markup]:
    ways = ("hand", "jax", "torch", "difference")
    first, *others = (study.chain[way]["float64"] for way in ways[:3])
    widest = max(abs(first[name] - other[name]) for other in others for name in first)
    together = f"equal within {number(widest)}" if widest else "equal to the last bit of float64"
    body = [
        [name, element("span", rule, class_="formula")]
        + [
            "" if (value := study.chain[way]["float64"].get(name)) is None else f"{value:.15g}"
            for way in ways
        ]
        for name, rule in chain_rule.RULES.items()
    ]
    header = ["", "rule", "by hand", "jax.grad", "torch.autograd", "central difference"]
    return [
        element("div", drawing.chain(study.chain["hand"]["float64"]), class_="wide"),
        _plain_table(header, body),
        prose.paragraph(
            f"The first three are {together}. The central difference, (l(v + h) − l(v − h)) / 2h, "
            "knows no rule at all, only the loss; rounding alone can move it by up to "
            f"{chain_rule.difference_error():.1e}."
        ),
    ]


def _plain_table(header: list[str], body: list[list[Child]]) -> Markup:
    def cell(column: int, words: Child) -> Markup:
        return element("td", words, class_="end" if column > 1 else None)

    return element(
        "div",
        element(
            "table",
            element(
                "thead",
                element(
                    "tr", [element("th", n, class_="end" if i > 1 else None) for i, n in enumerate(header)]
                ),
            ),
            element(
                "tbody", [element("tr", [cell(i, words) for i, words in enumerate(row)]) for row in body]
            ),
        ),
        class_="wide",
    )


def _network(study: Study) -> list[Markup]:
    return [
        prose.paragraph(
            "Two convolutions with batch normalisation, pooling and ReLU between them, and a dense layer at the end. "
            "Shapes are rows × columns × channels. Parameters come in from above, and their gradients leave below. "
            "These are the images, which belong together because batch normalisation looks at them all:"
        ),
        element("div", tiles.batch(study.passes["hand"]["float64"].values["x"]), class_="maps"),
        element("div", drawing.network(study.passes["hand"]["float64"]), class_="wide"),
        prose.paragraph(
            "All of it, forward and back, in the code that made this page. Each function it calls is derived in the "
            "next chapter. None of these lines differentiates anything."
        ),
        prose.code(),
    ]


def _layers(study: Study) -> list[Markup]:
    return [
        prose.paragraph(
            "From the loss back to the image. Each strip shows the tensor that went into the layer, then its error "
            "signal by hand, by JAX and by PyTorch on one scale (red above zero, blue below), then the wider of the "
            f"two differences. Tensors of images show the channels of image {EXAMPLE}, a {study.labels[EXAMPLE]}; f "
            "and z₃ show one image a row."
        ),
        prose.paragraph(
            "JAX differentiates the network in plain jax.numpy, without flaxcnn's rules; otherwise the "
            "rules would be compared with themselves."
        ),
        *prose.layers(study),
    ]


def _table(study: Study) -> list[Markup]:
    header = ["layer", "", "shape", "formula", "norm", "max |hand − jax|", "max |hand − torch|", "margin"]
    left = 4
    return [
        prose.paragraph(
            "In float64, forward and then back. Each tensor is also computed in float32: how much that rounds says "
            "how far two correct computations in float64 may lie apart. The margin is how many times the wider gap "
            "fits into that. Above 1 it is rounding, below it is a mistake; no tolerance is chosen by hand."
        ),
        element(
            "div",
            element(
                "table",
                element(
                    "thead",
                    element(
                        "tr",
                        [element("th", n, class_="end" if i >= left else None) for i, n in enumerate(header)],
                    ),
                ),
                element(
                    "tbody", [_row(row, study.rows[i - 1].kind == "loss") for i, row in enumerate(study.rows)]
                ),
                id="tensors",
            ),
            class_="wide",
        ),
    ]


def _row(row: Row, turns: bool) -> Markup:
    shape = "×".join(map(str, row.shape)) or "one number"
    gaps = (number(row.gap_jax), number(row.gap_torch), margin(row.margin))
    state = None if row.equal else "different"
    return element(
        "tr",
        element("td", row.layer, class_="name"),
        element("td", element("span", row.symbol, class_="formula")),
        element("td", shape),
        element("td", row.formula, class_="formula"),
        element("td", number(row.norm), class_="end"),
        [element("td", gap, class_=f"end {state}" if state else "end") for gap in gaps],
        class_="back" if turns else None,
    )


def _descent(study: Study) -> list[Markup]:
    ways = {way: by_dtype["float64"].losses for way, by_dtype in study.descents.items()}
    hand = ways["hand"]
    widest = max(abs(a - b) for way in ways.values() for a, b in zip(hand, way, strict=True))
    return [
        prose.paragraph(
            "A gradient is worth something if going against it lowers the loss. Each of the three gradients moves "
            f"its own copy of the network, p ← p − {LEARNING_RATE} ∂L/∂p, {STEPS} times on the same images:"
        ),
        element("div", drawing.losses(ways), class_="wide"),
        drawing.legend(),
        prose.paragraph(
            f"From {hand[0]:.4f} to {hand[-1]:.4f}. At no step do the three losses differ by more than "
            f"{number(widest)}."
        ),
    ]
