"""The README's tables of training runs, in Markdown."""

import math

from experiments import markdown, record


def runs() -> str:
    """The long runs, one line each."""
    result = record.read("trajectories")
    body = [
        [
            one["optimiser"],
            one["verdict"],
            f"{one['margin']:.0f}x",
            f"{one['distance64']:.0e}",
            f"{one['distance32']:.0e}",
            _factor(one["growth64"]),
            "never" if one["parted32"] is None else f"step {one['parted32']}",
            f"{one['first_loss']:.2f} → {one['last_loss']:.2f}",
        ]
        for one in result["runs"]
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
    """The planted defects, one line each."""
    result = record.read("trajectories")
    body = [
        [
            f"`{one['id']}`",
            one["planted"],
            str(one["step"]),
            f"{one['layer']}, {one['phase']}",
            "; ".join(dict.fromkeys(f"`{cause[0]}`" for cause in one["causes"])) or "unexplained",
        ]
        for one in result["defects"]
    ]
    return markdown.rows(["defect", "planted", "found at step", "where", "cause named"], body)


def _factor(rate: float | None) -> str:
    return "" if rate is None or math.isnan(rate) else f"{math.exp(rate):.3f}"
