"""`flaxcnn train` until its first step is done: the process ends there, and whoever started it reads the clock.

python -m experiments.performance.overhead.first_step [FLAGS of flaxcnn train]
"""

import os
import sys
from typing import Any


def main() -> int:
    """Run the command; it comes back only if it fails before the first step."""
    from flaxcnn.cli import huge_pages

    # As the command does, which is told its arguments here and leaves it to whoever tells them.
    huge_pages.restart()
    from flaxcnn.train.loop import Trainer

    Trainer._account = _end
    from flaxcnn.cli import main as command

    return command(["train", *sys.argv[1:]])


def _end(trainer: Any, metrics: dict[str, Any]) -> None:
    """The loop comes here with the metrics of the first step, and nothing else of a run is wanted."""
    del trainer
    float(metrics["loss"])
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main() or 1)
