"""The page "How a port goes wrong": every id of the defect catalogue, in words, with what the studies measured.

    python -m experiments.instrument.porting_guide          write docs/how-a-port-goes-wrong.md
    python -m experiments.instrument.porting_guide --check  fail if the page is not what this would write

The words are in parity/verdict/defects.toml; the figures are those of experiments/results/defects.json and
trajectories.json, where these studies are stored. No figure is written by hand.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments import markdown, record
from experiments.instrument.defects import score, table
from experiments.instrument.defects.baselines import ASSERT_CLOSE
from experiments.instrument.defects.evaluate import Result
from experiments.instrument.defects.mutants import NOT_EXPRESSIBLE
from parity.errors import CannotCompare
from parity.files import from_plain, write_text
from parity.verdict import catalogue
from parity.verdict.catalogue import DEFECTS

DOCS = Path(__file__).parents[2] / "docs"
WORDS, PAGE = catalogue.FILE, DOCS / "how-a-port-goes-wrong.md"
COMMAND = "python -m experiments.instrument.porting_guide"
STUDY = "python -m experiments.instrument.defects_study"

CHANNELS = {
    "F": "Forward",
    "G": "Gradient",
    "S": "State",
    "O": "Optimiser",
    "I": "Initialisation",
    "P": "Precision",
    "D": "Data",
    "W": "Weights",
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the page says about one id.

    Attributes:
        seen: where it shows first, by the keys of the table "seen".
        torch, flax: the two conventions.
        symptom: as it is met.
        fix, code: in words, and in lines that run.
        shown: how `parity` shows it, or why it does not.
        hides: when it does not show.
        defaults: "callable(option=value)", as `inspect.signature` reads it.
    """

    seen: tuple[str, ...]
    torch: str
    flax: str
    symptom: str
    hides: str
    fix: str
    code: str
    shown: str
    defaults: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Words:
    """All that was written by hand: `seen` has (what you see, how to find it), `entries` the catalogue's order."""

    opening: str
    seen: dict[str, tuple[str, str]]
    entries: dict[str, Entry]


def words(path: Path | None = None) -> Words:
    """Read the words.

    Raises:
        CannotCompare: an id has no entry or is not in the catalogue, or an entry lacks a field or has an unknown one.
    """
    read = catalogue.read(path or WORDS)
    odd = sorted(read["ids"].keys() ^ DEFECTS.keys())
    if odd:
        wrong = [f"{id} has none" if id in DEFECTS else f"{id} is not in the catalogue" for id in odd]
        raise CannotCompare(f"{WORDS.name} must have one entry for each id: {', '.join(wrong)}.")
    seen = {key: (what, how) for key, (what, how) in read["seen"].items()}
    return Words(read["opening"].strip(), seen, {id: _entry(id, read["ids"][id], seen) for id in DEFECTS})


def _entry(id: str, fields: dict[str, Any], seen: Iterable[str]) -> Entry:
    values = {
        key: tuple(value) if isinstance(value, list) else value.strip()
        for key, value in fields.items()
        if key != "line"
    }
    try:
        entry = Entry(**values)
    except TypeError as error:
        raise CannotCompare(f"The entry {id} has not the fields of an Entry: {error}.") from None
    unknown = sorted({*entry.seen} - {*seen})
    if unknown:
        raise CannotCompare(f"The entry {id} is seen in {unknown[0]!r}, which the table seen does not have.")
    return entry


def channel(id: str) -> str:
    """The first channel of an id."""
    return DEFECTS[id][0]


def page() -> str:
    """The page, of the words and of what is stored."""
    written = words()
    study, trajectories = _stored("defects"), _stored("trajectories")
    results = [from_plain(Result, item) for item in study["results"]] if study else None
    planted = trajectories["defects"] if trajectories else []
    parts = [
        _opening(written),
        _measured(study, results),
        _by_symptom(written),
        _by_default(written),
        _contents(),
    ]
    for letter, name in CHANNELS.items():
        parts.append(f"## {name}")
        parts += [
            _section(id, entry, results, planted)
            for id, entry in written.entries.items()
            if channel(id) == letter
        ]
    parts.append(f"*Made by `{COMMAND}`; the words are in [`defects.toml`](../parity/verdict/defects.toml).*")
    return "\n\n".join(parts) + "\n"


def _opening(written: Words) -> str:
    logits = {"shape", "evaluation", "training", "input"}
    unseen = sum(not logits & {*entry.seen} for entry in written.entries.values())
    return written.opening.replace("{unseen}", str(unseen)).replace("{all}", str(len(written.entries)))


def _by_symptom(written: Words) -> str:
    body = []
    for key, (what, how) in written.seen.items():
        ids = [_link(id) for id, entry in written.entries.items() if key in entry.seen]
        body.append([what, ", ".join(ids), how])
    return "## What you see\n\n" + markdown.rows(["you see", "it may be", "find it by"], body)


def _by_default(written: Words) -> str:
    body = []
    for id, entry in written.entries.items():
        ours = [one for one in entry.defaults if one.startswith("torch")]
        theirs = [one for one in entry.defaults if not one.startswith("torch")]
        theirs = [one for one in theirs if one.replace("linen.", "nnx.") not in theirs or "linen." not in one]
        if entry.defaults:
            body.append([_link(id), _codes(ours), _codes(theirs)])
    text = (
        "What an option is when nobody sets it, as the signatures say; the tests hold these against the installed "
        "libraries. Flax's two module styles agree unless `linen` is named apart. An empty side has no such option."
    )
    return f"## Defaults\n\n{text}\n\n" + markdown.rows(["id", "PyTorch", "Flax, optax, JAX"], body)


def _contents() -> str:
    lines = ["## The ids", ""]
    for letter, name in CHANNELS.items():
        ids = ", ".join(_link(id) for id in DEFECTS if channel(id) == letter)
        lines.append(f"- [{name}](#{name.lower()}): {ids}")
    return "\n".join(lines)


def _section(
    id: str, entry: Entry, results: Sequence[Result] | None, planted: Sequence[dict[str, Any]]
) -> str:
    lines = [
        f"### {id}\n",
        f"- **PyTorch.** {entry.torch}",
        f"- **The port.** {entry.flax}",
        f"- **You see.** {entry.symptom}",
        f"- **It hides.** {entry.hides}",
        f"- **`parity`.** {entry.shown}",
        f"- **Measured.** {measured(id, results)}",
        *(f"- **In training.** {text}" for text in [trained(id, planted)] if text),
        f"- **Fix.** {entry.fix}\n\n```python\n{entry.code}\n```",
    ]
    return "\n".join(lines)


def measured(id: str, results: Sequence[Result] | None) -> str:
    """What the benchmark measured about one id, or why it did not."""
    if id in NOT_EXPRESSIBLE:
        return f"Not planted: {NOT_EXPRESSIBLE[id]}."
    if results is None:
        return "Not yet."
    mine = [r for r in results if r.id == id]
    total = score.Score.of(mine)
    discarded = len(mine) - total.mutants
    if total.mutants == 0:
        return f"Nothing: {_count(discarded, 'mutant')} drawn, none that differs in meaning."
    were = "was" if discarded == 1 else "were"
    more = f" ({discarded} more {were} equivalent, and discarded)" if discarded else ""
    sentences = [
        f"{_count(total.mutants, 'mutant')} that {'differs' if total.mutants == 1 else 'differ'} in meaning{more}: "
        f"{total.detected} detected, {total.located} at the exact place, {total.named} with the right first cause.",
        *_named_instead(id, mine),
        _smallest(id, mine),
        _by_assert_close(mine, total.mutants),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _named_instead(id: str, mine: Sequence[Result]) -> Iterable[str]:
    row = score.confusion(mine).get(id, {})
    others = [f"{_code(name)} ({n})" for name, n in sorted(row.items()) if name != id]
    return [f"Named first instead: {', '.join(others)}."] if others else []


def _smallest(id: str, mine: Sequence[Result]) -> str:
    smallest = score.smallest_detected(mine)
    if id not in smallest:
        return ""
    severity, gap = smallest[id]
    words = f"a relative gap of {gap:.0e} in float64" if gap < float("inf") else "other shapes or parameters"
    return f"The smallest detected: {severity}, {words}."


def _by_assert_close(mine: Sequence[Result], mutants: int) -> str:
    found = next(one for one in score.baselines(mine) if one.name == ASSERT_CLOSE)
    why = "" if any(r.baselines for r in mine if r.counts) else ", since it takes no training step"
    return f"`torch.testing.assert_close` on the logits misses {mutants - found.detected}{why}."


def trained(id: str, planted: Iterable[dict[str, Any]]) -> str:
    """What the short training runs showed about one id, "" if it was not planted there."""
    found = []
    for one in planted:
        if one["id"] == id:
            causes = [*dict.fromkeys(cause[0] for cause in one["causes"])]
            named = "named" if causes == [id] else f"named {', '.join(map(_code, causes)) or 'nothing'}"
            where = "missed" if one["step"] is None else f"update {one['step'] + 1}, {one['layer']}, {named}"
            found.append(f"{one['planted']} ({where})")
    return f"Planted in a training on digits, and where it was found: {'; '.join(found)}." if found else ""


def _measured(study: dict[str, Any] | None, results: Sequence[Result] | None) -> str:
    if study is None or results is None:
        return (
            "The figures below are from stored studies. "
            f"The benchmark of planted defects (`{STUDY}`) is not stored yet."
        )
    found = next(one for one in score.baselines(results) if one.name == ASSERT_CLOSE)
    lines = [
        f"The figures below are from stored studies, the benchmark of planted defects (`{study['command']}`) and the "
        "training runs (`python -m experiments.instrument.trajectories`). A *mutant* is a right port with one "
        "defect planted; a proof in float64, made without `parity`, says whether it differs in meaning at all. Of "
        "the benchmark:\n",
        *(f"- {line}" for line in table.totals(results)),
        f"- `torch.testing.assert_close` on the logits, the usual test, detects {found.detected} of {found.mutants}.",
        f"\nMeasured on: {markdown.where(study)}.",
    ]
    return "\n".join(lines)


def _stored(name: str) -> dict[str, Any] | None:
    return record.read(name) if (record.RESULTS / f"{name}.json").exists() else None


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _link(id: str) -> str:
    return f"[{id}](#{id})"


def _code(name: str) -> str:
    return name if name == score.NONE else f"`{name}`"


def _codes(names: Sequence[str]) -> str:
    return "<br>".join(f"`{name}`" for name in names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is stale")
    options = parser.parse_args(arguments)
    text = page()
    if not options.check:
        write_text(PAGE, text)
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE.name} does not show the words and the stored results: run {COMMAND}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
