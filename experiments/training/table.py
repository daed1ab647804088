"""The table of accuracies."""

from typing import Any

from experiments import record
from experiments.markdown import rows, where


def accuracy() -> str:
    """Test accuracies: digits over several seeds, Fashion-MNIST with one run of each model."""
    body = []
    digits = record.read("digits")
    figures = digits["test_accuracy"]
    body.append(
        [
            "digits",
            "resnet20",
            f"{figures['mean']:.2%} ± {figures['std']:.2%} (n = {figures['n']})",
            f"{digits['target']:.1%}",
            f"{digits['seconds']['mean']:.0f} s",
            _date(digits),
            f"`{digits['command']}`",
        ]
    )
    for model in ("cnn", "resnet"):
        result = record.read(f"fashion_mnist_{model}")
        summary = result["summary"]
        body.append(
            [
                "Fashion-MNIST",
                f"{summary['model']}, {summary['parameters'] / 1e6:.2f} M parameters",
                f"{summary['test_accuracy']:.2%} (n = 1)",
                f"{result['target']:.1%}",
                f"{summary['training_seconds'] / 60:.0f} min",
                _date(result),
                f"`{result['command']}`",
            ]
        )
    header = ["data", "model", "test accuracy", "target", "time", "recorded", "command"]
    return rows(header, body) + f"\n\nMeasured on: {where(digits)}."


def _date(result: dict[str, Any]) -> str:
    return str(result["environment"]["date"]).split(" ", 1)[0]
