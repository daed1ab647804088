"""The definitions of a notebook as a module: its imports, classes, functions and constants, and nothing that runs."""

import ast
import contextlib
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.Assign)


def definitions(path: Path, names: tuple[str, ...]) -> types.ModuleType:
    """A module with the definitions of these names, made from the notebook's own text.

    Args:
        path: of the notebook.
        names: of classes, functions and constants; what is defined twice is taken twice, in order.
    """
    module = types.ModuleType(path.stem)
    # Dataclasses look their module up by its name.
    sys.modules[path.stem] = module
    for number, cell in enumerate(_cells(path)):
        for node in ast.walk(cell):
            if isinstance(node, ast.Import | ast.ImportFrom):
                # A notebook imports what it draws with, too.
                with contextlib.suppress(ImportError):
                    _run(node, f"{path.name}[{number}]", module)
        for node in cell.body:
            if isinstance(node, DEFINITIONS) and set(_names(node)) & set(names):
                _run(node, f"{path.name}[{number}]", module)
    return module


def _cells(path: Path) -> Iterator[ast.Module]:
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        lines = "".join(cell["source"]).splitlines()
        # IPython's own commands are no Python; a `pass` keeps the block around them.
        python = [_without_command(line) for line in lines]
        with contextlib.suppress(SyntaxError):
            yield ast.parse("\n".join(python))


def _without_command(line: str) -> str:
    text = line.lstrip()
    return line[: len(line) - len(text)] + "pass" if text.startswith(("%", "!")) else line


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    assert isinstance(node, ast.Assign)
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def _run(node: ast.stmt, where: str, module: types.ModuleType) -> None:
    # The user fetched this code to run it.
    exec(compile(ast.Module([node], []), where, "exec"), module.__dict__)
