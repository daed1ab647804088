"""What two equal runs have in common."""

from pathlib import Path

from flaxcnn.train import array_file
from flaxcnn.train.checkpoint import Checkpoints
from flaxcnn.train.run_folder import RunFolder

TIMINGS = ("seconds", "images_per_second")


def result(path):
    """What two equal runs have in common, bit for bit."""
    summary = RunFolder.open(path).summary()
    return {
        "metrics": [
            {k: v for k, v in item.items() if k not in TIMINGS} for item in RunFolder.open(path).history()
        ],
        "summary": {key: summary[key] for key in ("test_accuracy", "test_loss", "best", "epochs", "steps")},
        "files": {
            kind: {name: array.tobytes() for name, array in array_file.read(file).items()}
            for kind, file in Checkpoints(Path(path)).kinds().items()
        },
    }
