"""How much the processors did for other programs while a run was timed."""

import os
from pathlib import Path

_STAT = Path("/proc/stat")


class Others:
    """Seconds of processor time that others took since this was made, where Linux says it.

    What the processors did in all, less what this process and the children that it has waited for did.
    """

    def __init__(self) -> None:
        self._start = self._balance()

    def seconds(self) -> float | None:
        """Until now; None where the system does not say."""
        now = self._balance()
        return None if now is None or self._start is None else max(0.0, now - self._start)

    @staticmethod
    def _balance() -> float | None:
        if not _STAT.exists():
            return None
        # The first line: cpu, then user, nice, system, idle, iowait, irq, softirq, steal in ticks.
        ticks = [int(value) for value in _STAT.read_text().splitlines()[0].split()[1:9]]
        busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
        return busy - sum(os.times()[:4])
