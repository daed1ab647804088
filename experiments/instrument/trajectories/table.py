"""The README's tables of training runs, in Markdown."""

import math

from experiments import markdown, record


def runs() -> str:
    """The long runs, one row each."""
    result = record.read("trajectories")
    body = [
        [
            run["optimiser"],
            run["verdict"],
            f"{run['margin']:.0f}x",
            f"{run['distance64']:.0e}",
            f"{run['distance32']:.0e}",
            _factor(run["growth64"]),
            "never" if run["loss_divergence32"] is None else f"step {run['loss_divergence32']}",
            f"{run['first_loss']:.2f} → {run['last_loss']:.2f}",
        ]
        for run in result["runs"]
    ]
    header = [
        "optimiser",
        f"verdict, {result['steps']} steps",
        "margin left",
        "apart at the end, float64",
        "float32",
        "growth a step, float64",
        "float32 losses 1 % apart",
        "loss",
    ]
    return f"{markdown.rows(header, body)}\n\nMeasured on: {markdown.where(result)}."


def planted() -> str:
    """The planted defects, one row each."""
    result = record.read("trajectories")
    body = [
        [
            f"`{run['id']}`",
            run["planted"],
            str(run["step"]),
            f"{run['layer']}, {run['phase']}",
            "; ".join(dict.fromkeys(f"`{cause[0]}`" for cause in run["causes"])) or "unexplained",
        ]
        for run in result["defects"]
    ]
    return markdown.rows(["defect", "planted", "found at step", "where", "cause named"], body)


def _factor(rate: float | None) -> str:
    return "" if rate is None or math.isnan(rate) else f"{math.exp(rate):.3f}"
