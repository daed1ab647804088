"""TensorBoard events, written by tensorboardX: TensorFlow is not needed."""

import time
from pathlib import Path
from typing import Any


class EventWriter:
    """Writes the numbers of every epoch as scalars, at their step.

    Args:
        folder: the run folder; events go to its `events/`.
        enabled: write nothing if False.
        purge: of a run that is resumed, the step from which on TensorBoard hides the events of before; else `None`.
    """

    def __init__(self, folder: Path, enabled: bool, purge: int | None) -> None:
        self.folder, self.enabled, self.purge = folder.absolute() / "events", enabled, purge
        self.writer: Any = None

    def __enter__(self) -> "EventWriter":
        """Nothing to prepare: the first `write` opens the file."""
        return self

    def __exit__(self, *error: object) -> None:
        """Write out what is pending."""
        if self.writer is not None:
            self.writer.close()

    def write(self, record: dict[str, Any]) -> None:
        """One epoch; it is in the file when this returns.

        Raises:
            OSError: the file cannot be written.
        """
        if not self.enabled:
            return
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        if self.writer is None:
            self.writer = self._opened()
        values = [
            Summary.Value(tag=name.replace("_", "/", 1), simple_value=float(value))
            for name, value in record.items()
            if name not in ("step", "epoch") and value is not None
        ]
        self._add(Event(step=record["step"], summary=Summary(value=values)))
        self.writer.flush()

    def _opened(self) -> Any:
        # tensorboardX imports PyTorch where that is installed, which takes seconds: a run must not start with it.
        # Its SummaryWriter writes from a thread, in which a full disk would end that thread and be told to nobody.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self.folder.mkdir(exist_ok=True)
        # Names start with the second; the number tells apart, and orders, what is written in one second.
        number = len(list(self.folder.iterdir()))
        self.writer = EventsWriter(str(self.folder / "events"), f".{number:04d}")
        if self.purge is not None:
            self._add(Event(step=self.purge, session_log=SessionLog(status=SessionLog.START)))
        return self.writer

    def _add(self, event: Any) -> None:
        event.wall_time = time.time()
        self.writer.write_event(event)
