"""How a port names the layers of a network."""

from experiments.instrument.styles.style import Style

_OTHER = {
    "conv": "proj", "norm": "normalise", "fc": "dense", "block": "stage", "drop": "regularise", "scale": "gain",
}  # fmt: skip


class Names:
    """Names of attributes: PyTorch's, or others that tell nothing of PyTorch's."""

    def __init__(self, style: Style) -> None:
        self.style = style

    def of(self, name: str) -> str:
        """The port's name of what PyTorch calls `name`."""
        if self.style.names == "same":
            return name
        head, _, unit = name.partition("_")
        kind = head.rstrip("0123456789")
        number = head[len(kind) :]
        letter = chr(ord("a") + int(number)) if number else "z"
        return f"{_OTHER.get(kind, kind)}_{letter}{'_' + unit if unit else ''}"
