"""The cost of feeding the device: epochs of the real loop beside the same steps on one batch that stays in memory.

A turn of the real loop is an epoch of `flaxcnn train`. Grain's threads read and shuffle Fashion-MNIST, batches go to
the device, metrics come back, and the bar is drawn on an invisible terminal. Three times are measured:

    idle     the device has nothing to do: from the result of a step (a thread waits for it) to the return of the
             call that dispatches the next step; also before the first step and after the last one
    waiting  the loop waits for the next batch; the device computes meanwhile
    host     processor time of the loop's thread and of all threads that read, prefetch and draw

On a CPU the device and the host share the cores. So the host's work may slow down a device that is never idle, by at
most its processor time divided by the number of cores. The difference of the wall times, epoch minus resident steps,
includes all of it, but the machine's noise is larger.
"""

import contextlib
import dataclasses
import os
import queue
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from experiments.performance.overhead.settings import SETTINGS, RunSetting
from flaxcnn import data
from flaxcnn.train.compiling import Compiled
from flaxcnn.train.interrupts import StopRequest
from flaxcnn.train.loop import Position, Trainer
from flaxcnn.train.progress import ProgressDisplay
from flaxcnn.train.run_folder import RunFolder
from flaxcnn.train.setup import set_up
from flaxcnn.train.state import TrainState
from flaxcnn.train.step import Batch, Metrics


class Watched(Compiled):
    """A compiled training step that records when each call returned and when each result was ready.

    Args:
        step: called before, so that it is compiled already.
    """

    def __init__(self, step: Compiled) -> None:
        # The base class is not initialised, because this step compiles nothing itself.
        self.step, self.compilations, self.compile_seconds = step, 0, 0.0
        self.returned: list[float] = []
        self.ready: list[float] = []
        self._losses: queue.SimpleQueue[jax.Array | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def __call__(self, train_state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Dispatch the step."""
        result = self.step(train_state, batch)
        self.returned.append(time.perf_counter())
        self._losses.put(result[1]["loss"])
        return result

    def _watch(self) -> None:
        while (loss := self._losses.get()) is not None:
            loss.block_until_ready()
            self.ready.append(time.perf_counter())

    def close(self) -> None:
        """Wait for the remaining results."""
        self._losses.put(None)
        self.thread.join()


def idle_seconds(started: float, returned: list[float], ready: list[float], ended: float) -> float:
    """Seconds between `started` and `ended` in which the device had nothing to do.

    Args:
        started, ended: the times of the epoch.
        returned: when the call that dispatched each step returned.
        ready: when the result of each step was ready.
    """
    gaps = zip([started, *ready], [*returned, ended], strict=True)
    return sum(max(0.0, dispatched - done) for done, dispatched in gaps)


class Feed:
    """The batches of an epoch, with the time that it takes to get them.

    Attributes:
        waiting: seconds in which the loop waited for a batch.
        helpers: processor seconds of the threads that were started since.
    """

    def __init__(self, batches: Iterator[Batch], others: set[threading.Thread]) -> None:
        self.batches, self.others = batches, others
        self.waiting = self.helpers = 0.0

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        while True:
            # The pipeline's threads end with it, so their time is read before each batch.
            self.helpers = self._helpers()
            start = time.perf_counter()
            batch = next(self.batches, None)
            self.waiting += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def _helpers(self) -> float:
        total = 0.0
        for thread in set(threading.enumerate()) - self.others:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                total += time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        return total


class Turns:
    """Both kinds of turn of one setting, with one compiled step and one train state for all of them."""

    def __init__(self, setting: RunSetting, folder: Path) -> None:
        job = set_up(setting.config)
        size = setting.config.run.batch_size
        train = data.Subset(job.splits.train, np.arange(setting.steps * size), "train")
        self.job = dataclasses.replace(
            job, splits=dataclasses.replace(job.splits, train=train), steps_per_epoch=setting.steps
        )
        self.steps, self.folder, self.epoch = setting.steps, RunFolder(folder), 0
        self.train_state = job.train_state
        self.batch = jax.device_put(next(iter(data.batches(train, size, shuffle=False))))
        self._terminal = open(os.devnull, "w")  # noqa: SIM115
        self.console = Console(file=self._terminal, force_terminal=True, width=120)

    def close(self) -> None:
        """Close the invisible terminal."""
        self._terminal.close()

    def loop(self) -> dict[str, float]:
        """An epoch of the real loop."""
        step = Watched(self.job.train_step)
        trainer = Trainer(dataclasses.replace(self.job, train_step=step), self.folder, self.console)
        trainer.train_state, trainer.position = self.train_state, Position(epoch=self.epoch)
        feed = Feed(trainer._batches(), set(threading.enumerate()))
        trainer._batches = lambda: iter(feed)
        with (
            StopRequest() as stop,
            ProgressDisplay(
                self.console,
                epochs=self.epoch + 1,
                steps_per_epoch=self.steps,
                first_step=self.epoch * self.steps,
            ) as display,
        ):
            started, before = time.perf_counter(), time.thread_time()
            trainer._train_epoch(display, stop)
            ended, after = time.perf_counter(), time.thread_time()
        step.close()
        self.train_state, self.epoch = trainer.train_state, self.epoch + 1
        return {
            "seconds": ended - started,
            "idle": idle_seconds(started, step.returned, step.ready, ended),
            "waiting": feed.waiting,
            "loop_processor": after - before,
            "helpers_processor": feed.helpers,
        }

    def resident(self) -> dict[str, float]:
        """As many steps on the batch that stays on the device; only the last loss is read."""
        started, before = time.perf_counter(), time.thread_time()
        for _ in range(self.steps):
            self.train_state, metrics = self.job.train_step(self.train_state, self.batch)
        float(metrics["loss"])
        return {"seconds": time.perf_counter() - started, "processor": time.thread_time() - before}


def measured(rounds: int, settings: tuple[RunSetting, ...] = SETTINGS) -> dict[str, Any]:
    """The figures of every turn of every setting."""
    figures = {}
    for setting in settings:
        with (
            tempfile.TemporaryDirectory(prefix="overhead-") as folder,
            contextlib.closing(Turns(setting, Path(folder))) as turns,
        ):
            turns.resident(), turns.loop()  # compile, and fill the caches
            loop, resident = [], []
            for number in range(rounds):
                # Every second round is reversed, so that neither kind always runs first.
                first, second = (
                    (turns.loop, turns.resident) if number % 2 == 0 else (turns.resident, turns.loop)
                )
                earlier, later = first(), second()
                loop.append(earlier if number % 2 == 0 else later)
                resident.append(later if number % 2 == 0 else earlier)
        figures[setting.name] = {"steps": setting.steps, "loop": loop, "resident": resident}
    return {"settings": figures, "cores": len(os.sched_getaffinity(0))}
