"""Markdown tables, and the sentence about machine and versions below them."""


def rows(header: list[str], body: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def where(result: dict) -> str:
    """Machine, versions and date of a result, in a sentence."""
    environment = result["environment"]
    versions = environment["versions"]
    return (
        f"{environment['processor']}, {environment['cores']} core{'s' if environment['cores'] > 1 else ''}, "
        f"Python {environment['python']}, jax {versions['jax']}, {environment['date'][:10]}"
    )
