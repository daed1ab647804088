"""TensorBoard events, written by tensorboardX: TensorFlow is not needed."""

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
        self.folder, self.enabled, self.first_step = folder, enabled, first_step
        self.writer: Any = None

    def __enter__(self) -> "EventWriter":
        """Nothing to prepare: the first `write` opens the file."""
        return self

    def __exit__(self, *error: object) -> None:
        """Write out what is pending."""
        if self.writer is not None:
            self.writer.close()

    def write(self, record: dict[str, Any]) -> None:
        """One epoch."""
        if not self.enabled:
            return
        if self.writer is None:
            self.writer = self._opened()
        for name, value in record.items():
            if name not in ("step", "epoch") and value is not None:
                self.writer.add_scalar(name.replace("_", "/", 1), value, record["step"])
        self.writer.flush()

    def _opened(self) -> Any:
        # tensorboardX imports PyTorch where that is installed, which takes seconds: a run must not start with it.
        from tensorboardX import SummaryWriter

        return SummaryWriter(str(self.folder / "events"), purge_step=self.first_step or None)
