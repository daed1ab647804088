"""HTML elements as strings that know they are escaped."""

import html
from typing import Any

# A text or an element, a list of children, or nothing.
Child = str | list[Any] | None
# Elements that have no end tag.
_VOID = frozenset({"img", "input", "br", "meta"})


class Markup(str):
    """Text that is HTML already; any other text is escaped when it becomes part of an element."""


def element(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """An element.

    Args:
        name: of the tag.
        children: texts (escaped), elements, lists of both; None is left out.
        attributes: `class_` and `for_` lose their underscore, other underscores become hyphens; None and
            False are left out, True stands alone.
    """
    rendered = "".join(_attribute(key, value) for key, value in attributes.items())
    body = "".join(_render(child) for child in children)
    return Markup(f"<{name}{rendered}>" if name in _VOID else f"<{name}{rendered}>{body}</{name}>")


def _attribute(key: str, value: str | int | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'


def _render(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return html.escape(child)
    return "".join(_render(item) for item in child)
