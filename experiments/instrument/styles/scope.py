"""The text of a class under construction, and of the module around it."""

import dataclasses

INDENT = "    "


@dataclasses.dataclass
class Scope:
    """One class: its fields, what it makes before it is called, and its call."""

    name: str
    fields: list[str] = dataclasses.field(default_factory=list)
    made: list[str] = dataclasses.field(default_factory=list)
    call: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Text:
    """A module: imports, helpers by name (each once), and classes in the order in which they are finished."""

    imports: list[str]
    helpers: dict[str, str] = dataclasses.field(default_factory=dict)
    classes: list[str] = dataclasses.field(default_factory=list)

    def use(self, name: str, text: str) -> str:
        """Add a helper that the module shall hold, and return its name."""
        self.helpers.setdefault(name, text.strip("\n"))
        return name

    def finished(self, last: str) -> str:
        """The whole text, with `last` at its end."""
        blocks = ["\n".join(self.imports), *self.helpers.values(), *self.classes, last]
        return "\n\n\n".join(block.strip("\n") for block in blocks) + "\n"


def indented(lines: list[str], depth: int = 1) -> list[str]:
    """The lines, moved to the right."""
    return [INDENT * depth + line for line in lines]


def capital(name: str) -> str:
    """The name of a class after that of an instance."""
    return name[0].upper() + name[1:]
