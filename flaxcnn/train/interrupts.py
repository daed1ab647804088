"""Ctrl-C and SIGTERM ask a run to stop at the end of its step, so that its state is whole when it is saved.

Python runs a signal's handler between two of its own instructions, which a long compilation holds up. So a thread is
told of signals by the system, and answers at once.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

# A process that does not react to a second Ctrl-C in so many seconds is in a long computation.
_PATIENCE = 1.0


class InterruptedRun(Exception):
    """The run was asked to stop and has saved its state; `signal` says by which signal."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


class StopRequest:
    """A context in which the first SIGINT or SIGTERM sets `signal`; a second Ctrl-C interrupts at once.

    Inside `immediate()`, where nothing is to be saved, the first one interrupts too. To interrupt is to raise
    `KeyboardInterrupt`. Contexts of one request may be nested. Outside the main thread, where Python delivers no
    signals, it does nothing.

    Args:
        answer: called once with a sentence for the person who waits, from another thread.
        leaves: after a second Ctrl-C, end the process if it cannot be interrupted, as while it compiles. For commands
            whose files are whole at every moment.
    """

    def __init__(self, answer: Callable[[str], None] | None = None, *, leaves: bool = False) -> None:
        self.signal: int | None = None
        self._answer, self._leaves = answer or (lambda sentence: None), leaves
        self._before: dict[int, Any] = {}
        self._depth = self._immediate = 0
        self._interrupted = threading.Event()
        self._watch: tuple[threading.Thread, socket.socket, socket.socket] | None = None

    def __enter__(self) -> "StopRequest":
        """Take the signals over."""
        self._depth += 1
        if self._depth == 1 and threading.current_thread() is threading.main_thread():
            self._start_watching()
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *error: object) -> None:
        """Give the signals back."""
        self._depth -= 1
        if self._depth == 0 and self._before:
            for number, handler in self._before.items():
                signal.signal(number, handler)
            self._before.clear()
            self._stop_watching()

    @contextlib.contextmanager
    def immediate(self, sentence: str) -> Iterator[None]:
        """Stop at the first signal inside, and at once if it has come before.

        Raises:
            InterruptedRun: a signal has come; it says `sentence`.
        """
        if self.signal is not None:
            raise InterruptedRun(sentence, self.signal)
        self._immediate += 1
        try:
            yield
        except KeyboardInterrupt:
            if self.signal is None:
                raise
        finally:
            self._immediate -= 1
        # Also where a library has swallowed the interruption inside.
        if self.signal is not None:
            raise InterruptedRun(sentence, self.signal) from None

    def _request(self, number: int, frame: FrameType | None) -> None:
        again = self.signal is not None
        if not again:
            self.signal = number
        if self._immediate or (again and number == signal.SIGINT):
            self._interrupted.set()
            raise KeyboardInterrupt

    def _start_watching(self) -> None:
        here, there = socket.socketpair()
        there.setblocking(False)
        before = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
        if before != -1:  # somebody else is told already
            signal.set_wakeup_fd(before)
            here.close()
            there.close()
            return
        thread = threading.Thread(target=self._told, args=(here,), name="signals", daemon=True)
        self._watch = (thread, here, there)
        thread.start()

    def _stop_watching(self) -> None:
        if self._watch is None:
            return
        thread, here, there = self._watch
        self._interrupted.set()
        signal.set_wakeup_fd(-1)
        there.close()  # which ends the thread
        thread.join()
        here.close()
        self._watch = None

    def _told(self, here: socket.socket) -> None:
        """Read the numbers of signals as they come."""
        seen = 0
        while received := here.recv(1):
            number = received[0]
            if number not in (signal.SIGINT, signal.SIGTERM):
                continue
            seen += 1
            if seen == 1:
                self._answer(f"{signal.Signals(number).name}: stopping ... (Ctrl-C once more: at once)")
            elif number == signal.SIGINT and self._leaves and not self._interrupted.wait(_PATIENCE):
                # Files are whole at every moment, and the system gives the lock back.
                self._answer("stopped at once; --resume goes on from the last checkpoint, if there is one")
                if sys.stdout.isatty():
                    sys.stdout.write("\x1b[?25h")  # a progress bar has hidden the cursor
                sys.stdout.flush()
                os._exit(128 + number)
