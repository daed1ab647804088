"""What a person reads in ten seconds: the verdict, where it goes wrong and why, then the layers as a tree."""

import io
from typing import TYPE_CHECKING

from parity.report import probed, wording
from parity.report.evidence import PhaseErrors, first_divergent, phase_errors
from parity.report.folding import Folded, fold
from parity.report.grouping import grouped, listed
from parity.verdict.record import JudgedEntry, Mode, Report, Status

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

COLOURS = {"equivalent": "green", "divergent": "red", "inconclusive": "yellow"}
STYLES: dict[Status, str] = {
    "equivalent": "green",
    "divergent": "bold red",
    "inherited": "yellow",
    "accepted": "cyan",
    "reference-inexact": "magenta",
    "no-signal": "dim",
}
MARKS: dict[Status, str] = {
    "equivalent": "✓",
    "divergent": "✗",
    "inherited": "↓",
    "accepted": "≈",
    "reference-inexact": "?",
    "no-signal": "·",
}
# Below this width the kinds of layers are left out, so that names and numbers stay whole.
WIDE = 100
# What is written to a file or a pipe is wrapped for no screen.
UNLIMITED = 120
MOST_REMARKS = 8


def show(report: Report, *, everything: bool = False, console: "Console | None" = None) -> None:
    """Print a report.

    Args:
        report: what to show.
        everything: every layer and remark, however many; otherwise long models are folded.
        console: where to; by default the standard output.
    """
    from rich.console import Console

    console = console or Console(highlight=False)
    if console.is_terminal:
        console.print(_group(report, everything, console.width))
    else:
        console.file.write(text(report, everything=everything))


def text(report: Report, *, everything: bool = False, width: int = UNLIMITED) -> str:
    """What `show` prints, without colour."""
    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False, color_system=None, force_terminal=False)
    console.print(_group(report, everything, width))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _group(report: Report, everything: bool, width: int) -> "Group":
    from rich.console import Group

    parts: list[Padding | Table | Text] = [
        *_verdict(report),
        *_causes(report, everything),
        *_remarks(report, everything),
    ]
    for mode in report.modes:
        entries = report.entries(mode)
        if entries:
            parts += [_line(""), _tree(report, mode, fold(entries, report, everything=everything), width)]
    parts.append(_legend(report))
    return Group(*parts)


def _line(words: str, style: str = "") -> "Text":
    from rich.text import Text

    return Text(words, style=style)


def _labelled(label: str, words: str, style: str = "", indent: int = 2) -> "Table":
    """A line `label  words` whose words wrap under themselves."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    grid.add_column(min_width=9 + indent, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(_line(" " * indent + label, "dim"), _line(words, style))
    return grid


def _indented(words: str, style: str = "") -> "Padding":
    from rich.padding import Padding

    return Padding(_line(words, style), (0, 0, 0, 2))


def _verdict(report: Report) -> list["Padding | Table | Text"]:
    from rich.text import Text

    banner = Text()
    banner.append(f" {report.verdict.upper()} ", f"bold reverse {COLOURS[report.verdict]}")
    banner.append(f"  {wording.headline(report)}", "bold")
    lines: list[Padding | Table | Text] = [banner]
    summary = f"{wording.compared(report)}; {wording.coverage(report.coverage)}"
    if report.verdict == "equivalent":
        summary += f"; smallest safety margin {wording.margin(report.margin)}"
    if (where := report.first_divergence) is not None:
        sentences = wording.divergence(report) or [f"It is seen in: {where.quantity}."]
        lines += [_indented(sentence) for sentence in sentences]
        if (found := first_divergent(report)) is not None:
            lines += [_labelled(side, words) for side, words in wording.sources(found.entry) if words]
    lines.append(_indented(summary + ".", "dim"))
    # Where the models differ, the causes come first: what else was probed bears on nothing.
    for label, words in probed.lines(report) if report.verdict != "divergent" else ():
        lines.append(_labelled(label, words, "yellow" if label == "unprobed" else "dim"))
    return lines


def _causes(report: Report, everything: bool) -> list["Padding | Table | Text"]:
    lines: list[Padding | Table | Text] = []
    for label, style, causes in (
        ("cause", "bold red", report.causes),
        ("accepted", "cyan", report.accepted),
    ):
        for group in grouped(causes):
            alone = len(group.variants) == 1
            lines.append(_labelled(label, f"{group.id}  at {_where(group.layers, everything)}", style))
            for variant in group.variants:
                if not alone:
                    lines.append(_indented(f"    at {_where(variant.layers, everything)}"))
                lines += [_labelled(side, words, indent=4) for side, words in variant.facts]
    return lines


def _where(layers: tuple[str, ...], everything: bool) -> str:
    names = listed(layers, everything=everything)
    return names if len(layers) == 1 else f"{len(layers)} layers: {names}"


def _remarks(report: Report, everything: bool) -> list["Padding | Table | Text"]:
    lines: list[Padding | Table | Text] = []
    missing = report.coverage.unexercised
    shown = missing if everything else missing[:MOST_REMARKS]
    for item in shown:
        lines.append(_labelled("untested", f"{item.name}: {item.reason}; {item.change}", "yellow"))
    lines += _more(len(missing) - len(shown))
    # What the diagnosis says of a difference comes before remarks that bear on none.
    ordered = sorted(report.notes, key=lambda note: note.kind not in ("unexplained", "convention"))
    notes = ordered if everything else ordered[:MOST_REMARKS]
    for note in notes:
        where = f"{note.layer}: " if note.layer else ""
        lines.append(_labelled("note", f"{where}{note.message} ({note.kind})"))
    return lines + _more(len(report.notes) - len(notes))


def _more(count: int) -> list["Padding | Table | Text"]:
    return [_indented(f"and {count} more (--all shows them)", "dim")] if count > 0 else []


def _tree(report: Report, mode: Mode, rows: list[JudgedEntry | Folded], width: int) -> "Table":
    """The layers of one mode in execution order, under the containers that hold them."""
    from rich.table import Table

    state = any(phase_errors(judged, "state") for judged in report.entries(mode))
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim", title_justify="left")
    table.add_column(f"\n{mode} mode", overflow="fold", ratio=1 if width < WIDE else None)
    if width >= WIDE:
        table.add_column("\nkind", style="dim", overflow="ellipsis", no_wrap=True, max_width=18)
    headings = ["forward\nintroduced", "\ninherited", "backward\nintroduced", "\ninherited"]
    for heading in headings + ["\nstate"] * state + ["safety\nmargin"]:
        table.add_column(heading, justify="right", no_wrap=True)
    opened = ""
    for row in rows:
        if isinstance(row, Folded):
            table.add_row(_line(f"  ⋯ {_folded(row)}", "dim"))
            continue
        container, name = _placed(row.entry.name)
        if container != opened:
            opened = container
            if container:
                table.add_row(_line(f"  {container}", "dim"))
        table.add_row(*_cells(row, ("  " if container else "") + name, state, width))
        if row.status in ("divergent", "reference-inexact"):
            for source in (row.entry.source_torch, row.entry.source_flax):
                if source:
                    table.add_row(_line(f"      at {source}", "dim"))
    return table


def _placed(name: str) -> tuple[str, str]:
    """A layer's or segment's name as (container, the rest): ("layer1.0", "conv1 -> bn1")."""
    ends = name.split(" -> ")
    containers = [end.rpartition(".")[0] for end in ends]
    if len(set(containers)) == 1 and containers[0]:
        return containers[0], " -> ".join(end.rpartition(".")[2] for end in ends)
    return "", name


def _cells(judged: JudgedEntry, name: str, state: bool, width: int) -> list["Text"]:
    entry = judged.entry
    style = STYLES[judged.status]
    label = _line(f"{MARKS[judged.status]} {name}", style if judged.status != "equivalent" else "")
    label.stylize(style, 0, 1)
    if entry.call:
        label.append(f" (call {entry.call + 1})", "dim")
    cells = [label]
    if width >= WIDE:
        cells.append(_line(entry.kind if entry.role == "layer" else entry.role, "dim"))
    for phase in ("forward", "backward"):
        errors = phase_errors(judged, phase)
        cells += [_introduced(errors), _inherited(errors)]
    if state:
        cells.append(_introduced(phase_errors(judged, "state")))
    cells.append(_line(wording.margin(judged.margin), "" if judged.margin > 1 else style))
    return cells


def _introduced(errors: PhaseErrors | None) -> "Text":
    return _number(None if errors is None else errors.introduced, errors and errors.introduced_status)


def _inherited(errors: PhaseErrors | None) -> "Text":
    return _number(None if errors is None else errors.inherited, errors and errors.status)


def _number(value: float | None, status: Status | None) -> "Text":
    plain = value is None or status in (None, "equivalent", "no-signal")
    return _line(wording.number(value), "dim" if value is None else "" if plain else STYLES[status])


def _folded(row: Folded) -> str:
    statuses = [f"{count} {status}" for status, count in row.statuses.items() if status != "equivalent"]
    parts = [f"{row.count} more", *statuses]
    if "divergent" not in row.statuses and "inherited" not in row.statuses:
        parts.append(f"smallest margin {wording.margin(row.margin)}")
    return ", ".join(parts)


def _legend(report: Report) -> "Text":
    used = {judged.status for judged in report.layers}
    marks = [f"{MARKS[status]} {wording.STATUSES[status]}" for status in MARKS if status in used]
    return _line("\n" + "   ".join(marks), "dim")
