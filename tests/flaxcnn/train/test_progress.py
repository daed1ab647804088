"""What a person sees while nothing moves."""

import io
import re
import time

from rich.console import Console

from flaxcnn.train.progress import ProgressDisplay


def test_the_seconds_of_a_compilation_are_counted(monkeypatch):
    """For 37 s nothing moved on the screen, and on a pipe there was no word."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100)
    with ProgressDisplay(console, epochs=3, steps_per_epoch=5) as display:
        with display.compiling():
            now = time.monotonic()
            for seconds in (20, 37):
                monkeypatch.setattr(time, "monotonic", lambda seconds=seconds: now + seconds)
                display.progress.refresh()
        monkeypatch.undo()
        display.progress.refresh()
    times = [int(number) for number in re.findall(r"compiling \.\.\. (\d+) s", shown.getvalue())]
    assert {20, 37} <= set(times)
    assert "compiling" not in shown.getvalue().rpartition("37 s")[2]


def test_on_a_pipe_a_line_says_that_it_compiles():
    shown = io.StringIO()
    with ProgressDisplay(Console(file=shown), epochs=3, steps_per_epoch=5) as display, display.compiling():
        assert shown.getvalue() == "compiling the training step ...\n"
