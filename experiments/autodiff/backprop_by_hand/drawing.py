"""The drawings of the page as SVG: the chain of the first chapter, the network, and the falling loss."""

from experiments.autodiff.backprop_by_hand.network import Pass
from experiments.autodiff.backprop_by_hand.rules import RULES, SYMBOLS, LayerRule
from parity.report.html.markup import Markup, element
from parity.report.wording import number

STEP = 128
MIDDLE = 128
# The three ways to a gradient, widest line first, so that lines on top of each other all show.
LINES = {"hand": ("by hand", 9), "jax": ("jax.grad", 5), "torch": ("torch.autograd", 1.6)}


def text(words: str, x: float, y: float, class_: str = "", size: int = 14) -> Markup:
    """Words centred at a point."""
    return element("text", words, x=x, y=y, class_=f"label {class_}".strip(), font_size=size)


def arrow(start: tuple[float, float], end: tuple[float, float], class_: str) -> Markup:
    """A straight arrow; `class_` is "forward" or "back"."""
    (x1, y1), (x2, y2) = start, end
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=f"arrow {class_}", marker_end=f"url(#{class_})")


def heads() -> Markup:
    """The heads of both kinds of arrow."""

    def head(name: str) -> Markup:
        path = element("path", d="M0,0 L8,4 L0,8 z", class_=f"head {name}")
        return element(
            "marker", path, id=name, markerWidth=8, markerHeight=8, refX=7, refY=4, orient="auto"
        ).replace(' markerWidth="8"', ' markerUnits="userSpaceOnUse" markerWidth="8"')

    return element("defs", Markup(head("forward")), Markup(head("back")))


def node(symbol: str, x: float, y: float, below: str = "") -> list[Markup]:
    """A circle with a symbol, and words under it."""
    return [
        element("circle", cx=x, cy=y, r=19, class_="node"),
        text(symbol, x, y + 6, "symbol", 18),
        *([text(below, x, y + 36, "soft", 11)] if below else []),
    ]


def chain(numbers: dict[str, float]) -> Markup:
    """w, x -> u -> e -> l, with the derivatives beside the arrows back; `numbers` as in `chain_rule.by_hand`."""
    positions = {
        "w": (60, 50),
        "x": (60, 170),
        "u": (230, 110),
        "e": (430, 110),
        "y": (430, 215),
        "l": (630, 110),
    }

    def edge(source: str, target: str, derivative: str, beside: tuple[float, float]) -> list[Markup]:
        (x1, y1), (x2, y2) = positions[source], positions[target]
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        along = ((x2 - x1) / length, (y2 - y1) / length)
        across = (-along[1] * 5, along[0] * 5)
        start = (x1 + along[0] * 22, y1 + along[1] * 22)
        end = (x2 - along[0] * 22, y2 - along[1] * 22)
        middle = ((x1 + x2) / 2 + beside[0], (y1 + y2) / 2 + beside[1])
        label = f"{derivative} = {numbers[derivative]:.4g}"
        return [
            arrow(
                (start[0] - across[0], start[1] - across[1]),
                (end[0] - across[0], end[1] - across[1]),
                "forward",
            ),
            arrow(
                (end[0] + across[0], end[1] + across[1]), (start[0] + across[0], start[1] + across[1]), "back"
            ),
            text(label, *middle, "signal", 13),
        ]

    return element(
        "svg",
        heads(),
        edge("w", "u", "dl/dw", (34, -26)),
        edge("x", "u", "dl/dx", (58, 28)),
        edge("u", "e", "dl/du", (0, 26)),
        edge("y", "e", "dl/dy", (72, 0)),
        edge("e", "l", "dl/de", (0, 26)),
        [node(name, *position) for name, position in positions.items()],
        text("u = w x", 258, 82, "soft", 13),
        text("e = u − y", 430, 82, "soft", 13),
        text("l = e²", 630, 82, "soft", 13),
        viewBox="0 0 700 245",
        role="img",
        aria_label="The chain w, x to u to e to l, with the derivative at each arrow back",
        class_="drawing narrow",
    )


def network(computed: Pass) -> Markup:
    """The tensors in a row with their shapes; layers above the arrows forward, error signals below those back."""
    width = STEP * len(RULES) + 90
    parts = [heads()]
    for column, rule in enumerate(RULES):
        parts += _layer(rule, 45 + column * STEP)
    for column, name in enumerate([rule.input for rule in RULES]):
        shape = "×".join(map(str, computed.values[name].shape[1:]))
        x = 45 + column * STEP
        parts += node(SYMBOLS[name], x, MIDDLE)
        parts.append(text(shape, x, MIDDLE + 38, "soft", 12))
    parts += node("L", 45 + len(RULES) * STEP, MIDDLE)
    parts.append(text(f"= {float(computed.loss):.4f}", 45 + len(RULES) * STEP, MIDDLE + 38, "soft", 12))
    return element(
        "svg",
        parts,
        viewBox=f"0 0 {width} 240",
        role="img",
        aria_label="The network: "
        + ", ".join(f"{rule.layer} makes {rule.output or 'the loss'}" for rule in RULES),
        class_="drawing",
    )


def _layer(rule: LayerRule, x: float) -> list[Markup]:
    middle, start, end = x + STEP / 2, x + 23, x + STEP - 23
    parts = [
        arrow((start, MIDDLE - 6), (end, MIDDLE - 6), "forward"),
        arrow((end, MIDDLE + 6), (start, MIDDLE + 6), "back"),
        text(rule.layer, middle, MIDDLE - 18, "name", 13),
        text(f"δ{SYMBOLS[rule.input]}", middle, MIDDLE + 27, "signal", 15),
    ]
    if rule.symbols:
        gradients = ", ".join(f"∂L/∂{symbol}" for symbol in rule.symbols.split(", "))
        parts += [
            text(rule.symbols, middle, MIDDLE - 62, "symbol", 16),
            arrow((middle, MIDDLE - 54), (middle, MIDDLE - 34), "forward"),
            arrow((middle, MIDDLE + 38), (middle, MIDDLE + 60), "back"),
            text(gradients, middle, MIDDLE + 78, "signal", 13),
        ]
    return parts


def losses(ways: dict[str, list[float]]) -> Markup:
    """The loss by step: one line for each way, thinner than the line below it."""
    width, height, left, right, top, bottom = 640, 250, 56, 12, 14, 36
    every = [loss for way in ways.values() for loss in way]
    low, high = min(every), max(every)
    span = (high - low) or 1.0
    count = len(next(iter(ways.values())))

    def point(step: int, loss: float) -> str:
        x = left + step * (width - left - right) / max(1, count - 1)
        return f"{x:.1f},{top + (high - loss) / span * (height - top - bottom):.1f}"

    lines = [
        element(
            "polyline",
            points=" ".join(point(step, loss) for step, loss in enumerate(ways[way])),
            class_=f"loss {way}",
            stroke_width=thick,
        )
        for way, (_, thick) in LINES.items()
    ]
    base = height - bottom
    ticks = [
        element("text", number(value), x=left - 8, y=y + 4, class_="tick end")
        for value, y in ((high, top), ((low + high) / 2, (top + base) / 2), (low, base))
    ]
    grid = [
        element("line", x1=left, x2=width - right, y1=y, y2=y, class_="grid")
        for y in (top, (top + base) / 2, base)
    ]
    steps = [
        element("text", str(step), x=point(step, low).split(",")[0], y=base + 18, class_="tick middle")
        for step in range(0, count, 5)
    ]
    return element(
        "svg",
        grid,
        lines,
        ticks,
        steps,
        element("text", "step", x=(left + width - right) / 2, y=height - 3, class_="tick middle"),
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label="The loss falls with the steps, equally for all three gradients",
        class_="drawing narrow",
    )


def legend() -> Markup:
    """The legend of the three lines."""
    return element(
        "ul",
        [
            element(
                "li",
                element(
                    "svg",
                    element("line", x1=0, y1=5, x2=26, y2=5, class_=f"loss {way}", stroke_width=thick),
                    width=26,
                    height=10,
                ),
                name,
            )
            for way, (name, thick) in LINES.items()
        ],
        class_="legend",
    )
