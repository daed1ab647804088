"""The tables: in the terminal, and in Markdown."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments import markdown, record
from experiments.autodiff.backprop_by_hand import chain_rule
from experiments.autodiff.backprop_by_hand.study import Study
from parity.report.wording import margin, number


def show(study: Study, console: Console) -> None:
    """Print everything."""
    console.print(chain_table(study))
    console.print(network_table(study))
    console.print(descent_table(study))
    for name, report in study.reports.items():
        colour = "green" if report.verdict == "equivalent" else "bold red"
        where = report.first_divergence
        first = f", first at {where.layer} ({where.quantity})" if where else ""
        console.print(f"{name}: [{colour}]{report.verdict}[/], margin {margin(report.margin)}{first}")
    if not study.difference_holds:
        console.print("[bold red]A central difference contradicts the derivative by hand.[/]")


def chain_table(study: Study) -> Table:
    """The chain rule, four ways."""
    point = ", ".join(f"{name} = {value}" for name, value in chain_rule.POINT.items())
    table = Table(title=f"The chain rule: loss = (w x − y)², {point}")
    for name in ("", "rule"):
        table.add_column(name)
    for name in ("by hand", "jax.grad", "torch.autograd", "central difference"):
        table.add_column(name, justify="right")
    for name, rule in chain_rule.RULES.items():
        numbers = [study.chain[way]["float64"].get(name) for way in ("hand", "jax", "torch", "difference")]
        table.add_row(name, rule, *("" if value is None else f"{value:.12g}" for value in numbers))
    return table


def network_table(study: Study) -> Table:
    """Every tensor of the network, forward and back."""
    table = Table(title="A small CNN: forward, then back from the loss")
    for name in ("layer", "", "shape", "formula"):
        table.add_column(name, overflow="fold")
    for name in ("norm", "max |hand − jax|", "max |hand − torch|", "margin"):
        table.add_column(name, justify="right")
    for row in study.rows:
        style = None if row.equal else "bold red"
        shape = "×".join(map(str, row.shape)) or "one number"
        gaps = (number(row.gap_jax), number(row.gap_torch), margin(row.margin))
        table.add_row(
            row.layer, row.symbol, shape, escape(row.formula), f"{row.norm:.4g}", *gaps, style=style
        )
        if row.kind == "loss":
            table.add_section()
    return table


def descent_table(study: Study) -> Table:
    """The loss before each fourth step."""
    table = Table("step", title="Gradient descent by each gradient")
    for name in ("by hand", "jax.grad", "torch.autograd"):
        table.add_column(name, justify="right")
    losses = [study.descents[way]["float64"].losses for way in ("hand", "jax", "torch")]
    for step, three in enumerate(zip(*losses, strict=True)):
        if step % 4 == 0:
            table.add_row(str(step), *(f"{loss:.12f}" for loss in three))
    return table


def recorded_table() -> str:
    """The recorded error signals and gradients as a Markdown table, for the README."""
    result = record.read("backprop_by_hand")
    body = [
        [
            f"`{row['layer']}`",
            row["formula"].replace("|", "\\|"),
            "×".join(map(str, row["shape"])),
            number(row["norm"]),
            number(row["gap_jax"]),
            number(row["gap_torch"]),
        ]
        for row in result["network"]
        if row["kind"] in ("signal", "gradient")
    ]
    header = ["layer", "by hand", "shape", "norm", "max \\|hand − jax\\|", "max \\|hand − torch\\|"]
    return markdown.rows(header, body) + f"\n\nMeasured on: {markdown.where(result)}."
