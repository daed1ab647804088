"""The parts of the page that are words: verdict, first divergence, causes, coverage, notes, environment."""

from parity.report import probed, wording
from parity.report.evidence import first_divergent
from parity.report.grouping import Group, Variant, grouped, listed
from parity.report.html.markup import Markup, element
from parity.verdict.record import Report

# A page with hundreds of remarks shows the first ones and folds the rest.
_OPEN = 12


def banner(report: Report) -> Markup:
    """The verdict, large, with what it rests on."""
    facts = [
        ("modes", " and ".join(report.modes)),
        ("compared", wording.compared(report).partition(" compared")[0]),
        ("coverage", wording.coverage(report.coverage)),
        ("smallest safety margin", wording.margin(report.margin)),
        *probed.lines(report),
    ]
    return element(
        "header",
        element("p", "parity: a Flax model against its PyTorch twin", class_="kicker"),
        element(
            "h1",
            element("span", report.verdict, class_=f"verdict {report.verdict}"),
            element("span", wording.headline(report), class_="headline"),
        ),
        element("dl", [_fact(label, words) for label, words in facts], class_="facts"),
    )


def _fact(label: str, words: str) -> Markup:
    return element("div", element("dt", label), element("dd", words))


def first_divergence(report: Report) -> Markup | None:
    """Where the port first goes wrong, by how much, and where both sides are written."""
    where = report.first_divergence
    if where is None:
        return None
    found = first_divergent(report)
    sentences = wording.divergence(report) or [f"It is seen in: {where.quantity}."]
    return element(
        "section",
        element("h2", "First divergence"),
        element(
            "p",
            element("strong", where.layer, class_="name"),
            f" introduces it: {where.phase}, {where.quantity}, {where.mode} mode.",
        ),
        [element("p", sentence) for sentence in sentences],
        None if found is None else _sides(wording.sources(found.entry)),
        class_="card divergence",
    )


def _sides(sides: list[tuple[str, str]]) -> Markup:
    return element("dl", [_fact(side, words or "no source") for side, words in sides], class_="facts sides")


def causes(report: Report) -> list[Markup]:
    """Named causes, and the differences that the user declared as intended."""
    return [
        element(
            "section",
            element("h2", title),
            [_group(group) for group in grouped(found)],
            class_=f"card {kind}",
        )
        for title, kind, found in (
            ("Causes", "causes", report.causes),
            ("Accepted differences", "accepted", report.accepted),
        )
        if found
    ]


def _group(group: Group) -> Markup:
    several = len(group.layers) > 1
    count = [element("p", element("code", group.id), f" at {len(group.layers)} layers", class_="id")]
    return element(
        "div",
        count if several else [],
        [
            _variant(variant, [] if several else [element("code", group.id), " at "])
            for variant in group.variants
        ],
        class_="cause",
    )


def _variant(variant: Variant, before: list[str]) -> list[Markup]:
    names = element("strong", listed(variant.layers, everything=True), class_="name")
    return [
        element("p", *before, names, class_="id"),
        element("dl", [_fact(label, words) for label, words in variant.facts], class_="facts"),
    ]


def coverage(report: Report) -> Markup:
    """What was put to the test and what was not."""
    found = report.coverage
    items = [
        element(
            "li",
            element("strong", item.name, class_="name"),
            f": {item.reason}. ",
            element("em", item.change),
        )
        for item in found.unexercised
    ]
    return element(
        "section",
        element("h2", "Coverage"),
        _bar("parameters", found.parameters_exercised, found.parameters),
        _bar("layers", found.layers_exercised, found.layers),
        _list(items) if items else element("p", "Everything that was compared was put to the test."),
        class_="card",
    )


def _bar(label: str, part: int, whole: int) -> Markup:
    share = part / whole if whole else 0.0
    return element(
        "div",
        element("span", label),
        element("progress", value=part, max=max(whole, 1), aria_label=f"{label} exercised"),
        element("span", f"{part} of {whole} ({share:.0%})"),
        class_="bar",
    )


def notes(report: Report) -> Markup | None:
    """Remarks that do not decide."""
    items = [
        element(
            "li",
            element("code", note.kind),
            " ",
            element("strong", note.layer, class_="name") if note.layer else None,
            f"{': ' if note.layer else ''}{note.message}",
        )
        for note in report.notes
    ]
    return element("section", element("h2", "Notes"), _list(items), class_="card") if items else None


def _list(items: list[Markup]) -> Markup:
    first, rest = items[:_OPEN], items[_OPEN:]
    folded = (
        element("details", element("summary", f"{len(rest)} more"), element("ul", rest)) if rest else None
    )
    return element("div", element("ul", first), folded)


def environment(report: Report) -> Markup:
    """Versions, and the thresholds that the judge used."""
    policy = {key.replace("_", " "): wording.setting(key, value) for key, value in report.policy.items()}
    facts = [_fact(key, value) for key, value in (report.environment | policy).items()]
    return element(
        "section",
        element("h2", "Environment and policy"),
        element("dl", facts, class_="facts"),
        class_="card",
    )


def explanation() -> Markup:
    """How to read the numbers."""
    return element(
        "section",
        element("h2", "How to read this page"),
        element(
            "p",
            "Both models run in float32 and in float64 from the same weights and inputs. The semantic gap is "
            "the difference of the two float64 results, divided by the largest value of the tensor. Rounding "
            "in float32, measured on both sides, predicts how large a gap rounding in float64 can make; that "
            "times a safety factor is what is allowed. A larger gap is a difference of meaning, however small. "
            "The safety margin is allowed / gap.",
        ),
        element(
            "p",
            "Introduced: the layer alone, fed what PyTorch recorded (its inputs; in the backward pass, its "
            "cotangents). Inherited: the models as they run, with all that earlier layers did.",
        ),
        class_="card",
    )
