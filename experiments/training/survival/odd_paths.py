"""Odd paths from end to end: train into one, with data in another; evaluate and predict from it."""

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from experiments.training.survival.job import MODEL, QUICK
from flaxcnn.cli import commands, main

NAMES: tuple[str, ...] = (
    "[1]", "[a-z]", "a]b[", "*", "run*", "?", "what?", "{a,b}", "back\\slash", "\\", "two words", " leading space",
    "trailing space ", "-dash", "--out", "trailing.", "...", "~", "~nobody", "%s", "%20", "$HOME", "'quoted'",
    '"double"', "`tick`", "a;b", "a&b", "#hash", "a:b", "s3:x", "line\nbreak", "tab\there", "grün", "日本語", "👩‍🔬",
    "e\u0301", "\udcff\udcfe", "[red]bold[/red]", "x" * 200, "a/[b]/c d/*", "checkpoints", "x" * 256, "nul\0byte",
)  # fmt: skip
# Too long for a name, and no name at all: refused.
IMPOSSIBLE = ("x" * 256, "nul\0byte")


def study(folder: Path, data: Path, console: Console) -> dict[str, Any]:
    """Try all names; each works from end to end, or is refused before a step is made."""
    folder.mkdir()
    Image.fromarray(np.load(data)["x_test"][0, :, :, 0]).save(folder / "digit.png")
    outcomes = {}
    before = os.getcwd()
    os.chdir(folder)
    try:
        for name in NAMES:
            outcomes[_shown(name)] = outcome = _outcome(name, data)
            console.print(f"{ascii(name)[:40]}: {outcome}", markup=False)
    finally:
        os.chdir(before)
    wanted = {_shown(name): "refused" if name in IMPOSSIBLE else "works" for name in NAMES}
    return {
        "tried": len(NAMES),
        "work": sum(outcome == "works" for outcome in outcomes.values()),
        "refused": sum(outcome == "refused" for outcome in outcomes.values()),
        "lost": sum(outcomes[name] != outcome for name, outcome in wanted.items()),
        "outcomes": outcomes,
    }


def _shown(name: str) -> str:
    text = ascii(name)[1:-1]
    return text if len(text) <= 60 else f"{text[:10]}... of {len(name)} characters"


def _outcome(name: str, data: Path) -> str:
    """`works`, `refused`, or what went wrong."""
    possible = name not in IMPOSSIBLE
    if possible:
        file = Path("data") / name / "digits.npz"
        file.parent.mkdir(parents=True)
        os.link(data, file)
    else:
        file = data
    run = f"run/{name}" if name != "--out" else "--out"
    code, _, errors = _run(
        ["train", f"--data={file}", *MODEL, *QUICK, "--tensorboard", "--epochs", "2", f"--out={run}"]
    )
    if code == 1 and errors.startswith("flaxcnn: The run folder") and errors.count("\n") == 1:
        return "refused"
    if code != 0:
        return f"train: {errors[-200:]}"
    code, out, errors = _run(["eval", "--json", "--", run])
    summary = json.loads((Path(run) / "summary.json").read_text())
    if code != 0 or json.loads(out)["accuracy"] != summary["test_accuracy"]:
        return f"eval: {errors[-200:]}"
    code, out, errors = _run(["predict", f"--run={run}", "--checkpoint=best", "--json", "digit.png"])
    if code != 0 or len(json.loads(out)[0]["classes"]) != 3:
        return f"predict: {errors[-200:]}"
    code, _, errors = _run(["train", f"--resume={run}", "--epochs", "3"])
    return "works" if code == 0 else f"resume: {errors[-200:]}"


def _run(arguments: list[str]) -> tuple[int, str, str]:
    """Exit code, output and errors of a command, in this process."""
    out, errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    shown, commands.console = commands.console, Console(file=out)
    try:
        with contextlib.redirect_stderr(errors):
            code = main(arguments)
    except Exception as error:  # what a user would see as a traceback
        code, errors = 1, io.StringIO(f"{type(error).__name__}: {error!s:.150}")
    finally:
        commands.console = shown
    out.seek(0)
    return code, out.read(), errors.getvalue()
