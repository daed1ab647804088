"""The table of the stored figures, against the targets."""

import statistics
from collections.abc import Callable, Iterator
from typing import Any

from experiments import markdown, record

NAME = "overhead"
TARGETS: dict[str, float] = {"flaxcnn --help": 0.5, "import flaxcnn": 1.0}
IDLE_TARGET = 0.02
Row = list[str]


def table() -> str:
    """A row for every figure: its name, its value, its target, and whether it is reached."""
    parts = record.read(NAME)["parts"]
    body = [row for part, make in _ROWS.items() if part in parts for row in make(parts[part])]
    machines = sorted({markdown.where(part) for part in parts.values()})
    return (
        f"{markdown.rows(['what', 'measured', 'target', ''], body)}\n\nMedian (least to most, number of turns). "
        "A cold cache is an empty folder of compiled programs, a warm one what the run before left. Steps are fed by "
        "the whole loop, its metrics and its bar included; the device is idle while it has nothing to do, and the "
        "host's share is the processor time of the loop and its threads, less that of the bare steps, in what all "
        "cores have. "
        f"Measured on: {'; '.join(machines)}."
    )


def is_stored() -> bool:
    """Whether any part was measured."""
    return (record.RESULTS / f"{NAME}.json").exists()


def _imports(part: dict[str, Any]) -> Iterator[Row]:
    for name, values in part["seconds"].items():
        target = TARGETS.get(name)
        yield [f"`{name}`", _spread(values, _seconds), *_judged(statistics.median(values), target, _seconds)]


def _startup(part: dict[str, Any]) -> Iterator[Row]:
    for name, caches in part["seconds"].items():
        for cache, values in caches.items():
            what = f"`{name}` until its first step is done, {cache} cache"
            yield [what, _spread(values, _seconds), *_judged(0.0, None, _seconds)]


def _compilations(part: dict[str, Any]) -> Iterator[Row]:
    from experiments.performance.overhead.compilations import FUNCTIONS

    for function in FUNCTIONS:
        counts = [run["programs"].get(function, 0) for run in part["runs"].values()]
        what = f"compilations of `{function}` in `{part['command']}`"
        yield [what, " and ".join(map(str, counts)), "1", _reached(all(count == 1 for count in counts))]


def _pipeline(part: dict[str, Any]) -> Iterator[Row]:
    for name, figures in part["settings"].items():
        loop, resident = figures["loop"], figures["resident"]
        step = [turn["seconds"] / figures["steps"] for turn in loop]
        idle = [turn["idle"] / turn["seconds"] for turn in loop]
        host = [
            (turn["loop_processor"] + turn["helpers_processor"] - bare["processor"])
            / (turn["seconds"] * part["cores"])
            for turn, bare in zip(loop, resident, strict=True)
        ]
        more = [1.0 - bare["seconds"] / turn["seconds"] for turn, bare in zip(loop, resident, strict=True)]
        what = f"{name}, a step of {statistics.median(step) * 1e3:.0f} ms"
        yield [
            f"{what}: device idle",
            _spread(idle, _share),
            *_judged(statistics.median(idle), IDLE_TARGET, _share),
        ]
        yield [
            f"{what}: the host's share",
            _spread(host, _share),
            *_judged(statistics.median(host), IDLE_TARGET, _share),
        ]
        yield [f"{what}: longer than on one resident batch by", _spread(more, _share), "", ""]


def _evaluation(part: dict[str, Any]) -> Iterator[Row]:
    for name, figures in part["settings"].items():
        plain, folded = (figures["seconds"][side] for side in ("plain", "folded"))
        ratio = [unfolded / fast for unfolded, fast in zip(plain, folded, strict=True)]
        compiling = figures["compile_seconds"]
        what = (
            f"{name}, evaluation of a batch in {statistics.median(folded) * 1e3:.0f} ms: times as fast with batch "
            f"norms folded (to fold: {figures['fold_seconds'] * 1e3:.0f} ms; to compile: {compiling['folded']:.1f} s "
            f"for {compiling['plain']:.1f} s)"
        )
        yield [what, _spread(ratio, lambda value: f"{value:.2f}"), "", ""]


_ROWS: dict[str, Callable[[dict[str, Any]], Iterator[Row]]] = {
    "imports": _imports,
    "startup": _startup,
    "compilations": _compilations,
    "pipeline": _pipeline,
    "evaluation": _evaluation,
}


def _seconds(value: float) -> str:
    return f"{value:.2f} s"


def _share(value: float) -> str:
    return f"{value:.2%}"


def _spread(values: list[float], shown: Callable[[float], str]) -> str:
    middle = shown(statistics.median(values))
    return f"{middle} ({shown(min(values))} to {shown(max(values))}, n = {len(values)})"


def _judged(value: float, target: float | None, shown: Callable[[float], str]) -> tuple[str, str]:
    """The target and whether it is reached; empty without a target."""
    return ("", "") if target is None else (f"< {shown(target)}", _reached(value < target))


def _reached(yes: bool) -> str:
    return "reached" if yes else "missed"
