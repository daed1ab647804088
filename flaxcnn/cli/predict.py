"""`flaxcnn predict`: classes of image files, on the terminal, as JSON, as JSON lines, or as CSV."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from flaxcnn import data
from flaxcnn.cli import records
from flaxcnn.errors import InvalidArgument
from flaxcnn.text import visible
from flaxcnn.train.classify import Answer
from flaxcnn.train.run_folder import RunFolderError
from flaxcnn.train.trained import load_run

Write = Callable[[Answer], None]


def predict(options: argparse.Namespace) -> int:
    """Classify every image that was named or found; exit code 1 if a file could not be read."""
    _check(options)
    run = options.run or latest_run()
    trained = load_run(run, options.checkpoint)
    found = data.find_images(options.images)
    others = f"{found.ignored} other {'file was' if found.ignored == 1 else 'files were'} ignored"
    if not found.images:
        raise data.DataError(f"No image was found in {', '.join(map(str, options.images))} ({others}).")
    done = failed = 0
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(writer) for writer in _writers(options, run, trained.info.class_names)]
        answers = trained.classify(found.images, batch_size=options.batch_size, errors="yield")
        for answer in _with_bar(answers, len(found.images)):
            for write in writers:
                write(answer)
            if answer.error is not None:
                print(f"flaxcnn: {visible(answer.error)}", file=sys.stderr)
                failed += 1
            done += answer.error is None
    if found.ignored or options.csv or options.jsonl:
        images = "1 image" if done == 1 else f"{done:,} images"
        print(
            f"flaxcnn: {images} classified by {run} ({options.checkpoint} weights), {failed} failed, {others}.",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _check(options: argparse.Namespace) -> None:
    if options.top < 1:
        raise InvalidArgument(f"--top is {options.top}; expected at least 1.")
    if options.batch_size < 1:
        raise InvalidArgument(f"--batch-size is {options.batch_size}; expected at least 1.")
    for flag in ("csv", "jsonl"):
        records.check_target(f"--{flag}", getattr(options, flag))
    if (options.csv == "-") + (options.jsonl == "-") + options.json > 1:
        raise InvalidArgument(
            "--json, --csv - and --jsonl - all write to the standard output; choose one of them."
        )


def _with_bar(answers: Iterator[Answer], total: int) -> Iterator[Answer]:
    console = Console(stderr=True)
    return track(
        answers, "classifying", total=total, console=console, transient=True, disable=not console.is_terminal
    )


def _writers(
    options: argparse.Namespace, run: str | Path, class_names: tuple[str, ...]
) -> list[contextlib.AbstractContextManager[Write]]:
    """What is to be done with every answer; the terminal shows them where nothing else does."""
    chosen = []
    if options.csv:
        chosen.append(_to_csv(options.csv, class_names))
    if options.jsonl:
        chosen.append(_to_lines(options.jsonl, options.top))
    if options.json:
        chosen.append(_to_json(options.top))
    return chosen or [_to_terminal(f"{run}, {options.checkpoint} weights", options.top)]


@contextlib.contextmanager
def _to_csv(target: str, class_names: tuple[str, ...]) -> Iterator[Write]:
    with records.written(target) as file:
        columns = records.probability_columns(class_names)
        rows = records.table(file, ["image", "predicted", "probability", *columns, "error"])

        def write(answer: Answer) -> None:
            if answer.probabilities is None:
                rows.writerow([answer.image, "", "", *[""] * len(columns), answer.error])
            else:
                ((name, chance),) = answer.top(1)
                rows.writerow([answer.image, name, chance, *answer.probabilities.tolist(), ""])

        yield write


@contextlib.contextmanager
def _to_lines(target: str, top: int) -> Iterator[Write]:
    with records.written(target) as file:
        yield lambda answer: print(json.dumps(_as_json(answer, top)), file=file)


@contextlib.contextmanager
def _to_json(top: int) -> Iterator[Write]:
    """One list, written item by item, so that it needs no more memory for more images."""
    before = "["

    def write(answer: Answer) -> None:
        nonlocal before
        print(before, json.dumps(_as_json(answer, top)), end="")
        before = ",\n "

    yield write
    print("\n]")


@contextlib.contextmanager
def _to_terminal(title: str, top: int) -> Iterator[Write]:
    shown = False

    def write(answer: Answer) -> None:
        nonlocal shown
        if answer.error is not None:
            return
        if not shown:
            print(f"classified by {title}")
            shown = True
        classes = "  ".join(f"{visible(name)} {chance:.1%}" for name, chance in answer.top(top))
        print(f"{visible(answer.image)}: {classes}")

    yield write


def _as_json(answer: Answer, top: int) -> dict[str, Any]:
    if answer.error is not None:
        return {"image": answer.image, "error": answer.error}
    classes = [{"class": name, "probability": chance} for name, chance in answer.top(top)]
    return {"image": answer.image, "classes": classes}


def latest_run() -> Path:
    """The most recent run in `runs/` that is complete.

    Raises:
        RunFolderError: there is none.
    """
    found = sorted(Path("runs").glob("*/summary.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise RunFolderError(
            "No complete run was found in runs/; give one with --run, or make one with train."
        )
    return found[-1].parent
