"""What a person sees of a run: a bar with loss, accuracy, images a second and time left; a line an epoch."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    track,
)
from rich.text import Text

from flaxcnn.data import Track

# Drawing the bar takes some milliseconds of a core that a CPU computes with (`experiments.performance.overhead`).
DRAWN_PER_SECOND = 4


class _Figures(ProgressColumn):
    """Loss, accuracy and speed; while the step compiles, the seconds that it takes, which show that it is alive."""

    max_refresh = 0.0

    def render(self, task: Task) -> Text:
        """The text of this moment."""
        since = task.fields["compiling_since"]
        return Text(
            task.fields["figures"] if since is None else f"compiling ... {time.monotonic() - since:.0f} s"
        )


class ProgressDisplay:
    """A progress bar over the steps of a run, as a context manager; on a pipe, only the line an epoch.

    Args:
        console: where to print.
        epochs: of the run.
        steps_per_epoch: batches an epoch.
        first_step: number of steps made before, when a run goes on.
    """

    def __init__(self, console: Console, *, epochs: int, steps_per_epoch: int, first_step: int = 0) -> None:
        self.console, self.epochs, self.steps_per_epoch = console, epochs, steps_per_epoch
        self.progress = Progress(
            TextColumn("[bold]epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            _Figures(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
            refresh_per_second=DRAWN_PER_SECOND,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task(
            "train",
            total=epochs * steps_per_epoch,
            completed=first_step,
            epoch=f"{first_step // steps_per_epoch + 1}/{epochs}",
            figures="",
            compiling_since=None,
        )
        self.shown = 0.0

    def __enter__(self) -> "ProgressDisplay":
        """Show the bar."""
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Take the bar away."""
        self.progress.stop()

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """Show inside that the training step is being compiled, which may take a minute."""
        if not self.console.is_terminal:
            self.console.print("compiling the training step ...", highlight=False)
        self.progress.update(self.task, compiling_since=time.monotonic())
        try:
            yield
        finally:
            self.progress.update(self.task, compiling_since=None)

    def step(self, epoch: int, step: int, *, loss: float, accuracy: float, images_per_second: float) -> None:
        """Show where the run is; called at every step, drawn a few times a second."""
        if (now := time.monotonic()) - self.shown < 1.0 / DRAWN_PER_SECOND:
            return
        self.shown = now
        self.progress.update(
            self.task,
            completed=step,
            epoch=f"{epoch}/{self.epochs}",
            figures=f"loss {loss:.4f}  accuracy {accuracy:.2%}  {images_per_second:,.0f} images/s",
        )

    def epoch(self, record: dict[str, Any], *, is_best: bool) -> None:
        """Print one line for a finished epoch."""
        line = (
            f"epoch {record['epoch']:>{len(str(self.epochs))}}/{self.epochs}"
            f"  train loss {record['train_loss']:.4f} accuracy {record['train_accuracy']:.2%}"
        )
        if record.get("validation_loss") is not None:
            line += f"  validation loss {record['validation_loss']:.4f} accuracy {record['validation_accuracy']:.2%}"
        line += f"  {record['images_per_second']:,.0f} images/s"
        self.console.print(
            line + ("  best" if is_best else ""), markup=False, emoji=False, highlight=False, soft_wrap=True
        )


def tracked(console: Console) -> Track:
    """A bar for work on the files before the training; nothing on a pipe."""

    def shown(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
        if not total:
            return items
        return track(items, what, total, console=console, transient=True, disable=not console.is_terminal)

    return shown
