"""From a run and a recipe to a smaller run, and the table of what it cost and gained."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from flaxcnn.compress.kept import Kept, write_run
from flaxcnn.compress.measure import figures, latencies
from flaxcnn.compress.recipe import Step
from flaxcnn.compress.steps import take
from flaxcnn.compress.work import Work
from flaxcnn.config import Config
from flaxcnn.errors import FlaxcnnError
from flaxcnn.models.resized import Architecture
from flaxcnn.text import printable
from flaxcnn.train.checkpoint import Checkpoints
from flaxcnn.train.environment import environment
from flaxcnn.train.evaluate import evaluate
from flaxcnn.train.interrupts import InterruptedRun, StopRequest
from flaxcnn.train.loading import load_again
from flaxcnn.train.lock import locked
from flaxcnn.train.position import Position
from flaxcnn.train.run_folder import RunFolder, RunFolderError, to_json, write_text
from flaxcnn.train.trained import TrainedModel, load_run

# In the new run folder: the weights in as few bytes as they need, the table, and the picture of it.
WEIGHTS, TABLE, PICTURE = "compressed.safetensors.xz", "compress.json", "compress.png"


def compress(
    path: str | Path,
    steps: Sequence[Step],
    out: str | Path,
    *,
    checkpoint: str = "last",
    repeats: int = 20,
    console: Console | None = None,
    stop: StopRequest | None = None,
) -> dict[str, Any]:
    """Compress the network of a run by a recipe, and write the result as a run folder.

    Args:
        path: the run folder; it is not changed.
        steps: of the recipe, see `flaxcnn.compress.recipe`.
        out: the new run folder.
        checkpoint: which of the run's weights to start from.
        repeats: predictions that are timed at each batch size; 0 times none.
        console: where progress is printed; nowhere if not given.
        stop: by which the work may be asked to stop.

    Returns:
        what `compress.json` holds: `before` and `after` with `accuracy`, `parameters`, `flops`, `bytes`, `latency_1`,
        `latency_64` and more.

    Raises:
        FlaxcnnError: one sentence; nothing is written.
        InterruptedRun: SIGINT or SIGTERM came; the same call goes on from where it was, to the same result.
    """
    console, out = console or Console(quiet=True), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunFolderError(f"The folder {printable(out)} is used already; give a new one with --out.")
    kept = Kept(out)
    try:
        with stop or StopRequest() as request:
            before = load_run(path, checkpoint)
            work = begun(RunFolder.open(path), before, checkpoint)
            kept.begin(Path(path), before.params, steps)
            with locked(kept.path):
                return _compressed(path, before, work, steps, kept, out, repeats, console, request)
    except InterruptedRun as stopped:
        told = f"finished steps are kept in {printable(kept.path)}; to go on give the same command again."
        raise InterruptedRun(f"Interrupted while compressing; {told}", stopped.signal) from None
    except OSError as error:
        raise RunFolderError(
            f"The folder {printable(out)} cannot be written ({error}); give another."
        ) from None


def _compressed(
    path: str | Path,
    before: TrainedModel,
    work: Work,
    steps: Sequence[Step],
    kept: Kept,
    out: Path,
    repeats: int,
    console: Console,
    request: StopRequest,
) -> dict[str, Any]:
    """Take the steps that are not finished, write the result, and put it in its place."""
    architecture = work.architecture
    try:
        with request.immediate("Interrupted."):
            if done := kept.finished():
                work = kept.load(done, work)
                console.print(f"going on after step {done} of {len(steps)}")
        for number, step in enumerate(steps[done:], done + 1):
            work = take(step, work, console, request, kept.training(number))
            kept.save(number, work)
        with request.immediate("Interrupted."):
            shutil.rmtree(kept.result, ignore_errors=True)
            table = _written(RunFolder.open(path), before, architecture, work, kept.result, out, repeats)
            if out.exists():
                out.rmdir()
            kept.result.rename(out)
    except FlaxcnnError:
        kept.delete()  # the same steps would fail again
        raise
    kept.delete()
    return table


def begun(folder: RunFolder, trained: TrainedModel, checkpoint: str) -> Work:
    """The network of a run, before the first step.

    What the run froze is trained from now on: a layer that lost channels cannot stay as it was.
    """
    config = trained.config.resolved().replace(freeze=[], thaw=[])
    info = Checkpoints(folder.path).info(checkpoint)
    return Work(
        config=config,
        loaded=load_again(config, trained.remembered),
        architecture=Architecture.of_run(folder.path),
        params=trained.params,
        state=trained.state,
        rate=config.optimiser.learning_rate,
        position=Position(**info["position"]),
        history=folder.history(),
    )


def _written(
    source: RunFolder,
    before: TrainedModel,
    architecture: Architecture | None,
    work: Work,
    partial: Path,
    out: Path,
    repeats: int,
) -> dict[str, Any]:
    """Write everything into the folder `partial`, and measure what can be loaded from there."""
    folder = write_run(partial, work, out)
    for name in ("data.json", "files.jsonl.gz", "labels.json"):
        if (source.path / name).exists():
            shutil.copy2(source.path / name, partial / name)
    _save(folder, work)
    after = load_run(partial)
    table = {
        "before": figures(before, architecture),
        "after": figures(after, work.architecture, partial / WEIGHTS),
    }
    if repeats:
        for kind, seconds in zip(table, latencies(before, after, repeats), strict=True):
            table[kind] |= seconds
    config = work.config
    result = table | {"model": config.model.model, "data": config.data.data, "environment": environment()}
    write_text(partial / TABLE, to_json(result))
    _draw(table, partial / PICTURE)
    folder.write_summary(_summary(work, config, table, out))
    return result


def _save(folder: RunFolder, work: Work) -> None:
    """The checkpoint, `last` and `best` in one."""
    train_state = work.final_state()
    step = int(jax.device_get(train_state.step))
    best = work.position.best[0] if work.position.best else {"accuracy": None, "loss": None}
    if (split := work.loaded.splits.validation) is not None:
        config = work.config
        size = min(config.run.batch_size, len(split))
        found = evaluate(
            work.job().predict, *train_state.evaluated, split, batch_size=size, workers=config.data.workers
        )
        best = {"accuracy": found.accuracy, "loss": found.loss}
    best = best | {"epoch": work.position.epoch, "step": step}
    position = dataclasses.replace(work.position, best=[best])
    info = {
        "position": dataclasses.asdict(position),
        "best": [step],
        "model": work.config.model.model,
    }
    Checkpoints(folder.path).save(train_state, info)


def _summary(work: Work, config: Config, table: dict[str, Any], out: Path) -> dict[str, Any]:
    """What `summary.json` holds, which marks the run as complete."""
    after = table["after"]
    return {
        "data": config.data.data,
        "model": config.model.model,
        "parameters": after["parameters"],
        "test_accuracy": after["accuracy"],
        "test_loss": after["loss"],
        "test_count": after["count"],
        "epochs": work.position.epoch,
        "steps": work.history[-1]["step"] if work.history else 0,
        "run_folder": str(out),
        "environment": environment(),
    }


def _draw(table: dict[str, Any], path: Path) -> None:
    """Accuracy against the size of the compressed file, before and after."""
    from flaxcnn.plots.canvas import RIGHT, TRAIN, add_title, new_figure, save

    figure = new_figure(6, 4)
    axes = figure.subplots()
    for kind, colour in (("before", TRAIN), ("after", RIGHT)):
        size, accuracy = table[kind]["bytes"] / 1e3, 100 * table[kind]["accuracy"]
        axes.plot([size], [accuracy], "o", color=colour, markersize=8, label=kind)
        axes.annotate(f"{size:,.0f} kB", (size, accuracy), (6, 6), textcoords="offset points")
    axes.set_xscale("log")
    axes.set_xlabel("compressed file (kB)")
    axes.set_ylabel("accuracy (%)")
    axes.margins(0.2)
    axes.legend()
    add_title(figure, "Accuracy against size")
    save(figure, path)
