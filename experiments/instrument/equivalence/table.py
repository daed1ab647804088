"""The README's table of the equivalence of training, made from the stored result."""

from typing import Any

from experiments import markdown, record

HEADER = ["PyTorch script", "flaxcnn", "difference", "90% interval", "margin", "p", "verdict"]


def table() -> str:
    """Both accuracies with std and n, the difference with its interval, the p-value and the verdict."""
    result = record.read("equivalence")
    test, control = result["test"], result["control"]
    share = control["learning_rate_times"]
    body = [row("", test), row(f" at {share:g} of the learning rate", control["test"])]
    header = [name.replace("90%", f"{1 - 2 * test['alpha']:.0%}") for name in HEADER]
    note = (
        f"ResNet-20 on digits, one recipe in two programs, test accuracy of the last epoch. p is of the two one-sided "
        f"tests (Welch, level {test['alpha']:g}); by Welch's two-sided test the accuracies "
        f"{'differ' if test['welch']['p_value'] < test['alpha'] else 'do not differ'} with p = "
        f"{test['welch']['p_value']:.2g}, {control_words(control['test'])}."
    )
    command = f"`{result['command']}`"
    return f"{markdown.rows(header, body)}\n\n{note} {command}, measured on: {markdown.where(result)}."


def row(handicap: str, test: dict[str, Any]) -> list[str]:
    """One test as a row."""
    low, high = test["interval"]
    return [
        spread(test["torch"]),
        spread(test["flax"]) + handicap,
        f"{100 * test['difference']:+.2f} pp",
        f"{100 * low:+.2f} to {100 * high:+.2f} pp",
        f"{100 * test['margin']:g} pp",
        f"{test['p_value']:.2g}",
        test["verdict"],
    ]


def spread(sample: dict[str, Any]) -> str:
    """The mean, std and number of a sample."""
    return f"{sample['mean']:.2%} ± {sample['std']:.2%} (n = {sample['n']})"


def control_words(test: dict[str, Any]) -> str:
    """The two-sided test of the handicapped side."""
    return f"those of the handicapped runs with p = {test['welch']['p_value']:.2g}"
