"""Processor time that other programs took while a run was timed."""

import os
from pathlib import Path

_STAT = Path("/proc/stat")


class Others:
    """Seconds of processor time that other programs took since this was made; only Linux reports it.

    The time of all programs minus the time of this process and of those children that it has waited for.
    """

    def __init__(self) -> None:
        self._start = self._balance()

    def seconds(self) -> float | None:
        """Their seconds until now; None where the system does not report them."""
        now = self._balance()
        return None if now is None or self._start is None else max(0.0, now - self._start)

    @staticmethod
    def _balance() -> float | None:
        if not _STAT.exists():
            return None
        # The first line holds cpu, then user, nice, system, idle, iowait, irq, softirq and steal in ticks.
        ticks = [int(value) for value in _STAT.read_text().splitlines()[0].split()[1:9]]
        busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
        return busy - sum(os.times()[:4])
