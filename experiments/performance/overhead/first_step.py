"""Runs `flaxcnn train` until its first step is done, then ends the process; the parent process measures the time.

python -m experiments.performance.overhead.first_step [FLAGS of flaxcnn train]
"""

import os
import sys
from typing import Any


def main() -> int:
    """Run the command; it returns only if it fails before the first step."""
    from flaxcnn.cli import huge_pages

    # `flaxcnn train` does this itself, but not when its `main` is called with arguments, as here.
    huge_pages.restart()
    from flaxcnn.train.loop import Trainer

    Trainer._account = _end
    from flaxcnn.cli import main as command

    return command(["train", *sys.argv[1:]])


def _end(trainer: Any, metrics: dict[str, Any]) -> None:
    """Called by the loop with the metrics of the first step; it ends the process."""
    del trainer
    float(metrics["loss"])
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main() or 1)
