"""TensorBoard events, written by tensorboardX: TensorFlow is not needed."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class EventWriter:
    """Writes the numbers of every epoch as scalars, at their step.

    Args:
        folder: the run folder; events go to its `events/`.
        enabled: write nothing if False.
        first_step: events after it, of a run that is resumed, are hidden by TensorBoard.
    """

    def __init__(self, folder: Path, enabled: bool, first_step: int) -> None:
        self.writer = None
        if enabled:
            with _without_torch():
                from tensorboardX import SummaryWriter

            self.writer = SummaryWriter(str(folder / "events"), purge_step=first_step or None)

    def __enter__(self) -> "EventWriter":
        """Nothing to prepare: the file is there."""
        return self

    def __exit__(self, *error: object) -> None:
        """Write out what is pending."""
        if self.writer is not None:
            self.writer.close()

    def write(self, record: dict[str, Any]) -> None:
        """One epoch."""
        if self.writer is None:
            return
        for name, value in record.items():
            if name not in ("step", "epoch") and value is not None:
                self.writer.add_scalar(name.replace("_", "/", 1), value, record["step"])
        self.writer.flush()


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Hide PyTorch from an import: tensorboardX looks for it, for tensors that it is never given here.

    To import it would take half of the time in which a run starts.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # what Python has for "there is none"
    try:
        yield
    finally:
        del sys.modules["torch"]
