"""The plan of the house: which room may import which, and what stands at the root of parity."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The rooms of parity, from the ground up: a room imports only from those before it.
ROOMS = (
    "errors",
    "files",
    "verdict",
    "capture",
    "matching",
    "comparison",
    "diagnose",
    "probe",
    "engine",
    "convert",
    "smaller",
    "seeds",
    "report",
    "check",
    "trajectory",
    "__init__",
    "pytest_plugin",
    "suites",
    "cli",
    "__main__",
)
# The packages, likewise.
PACKAGES = ("flaxcnn", "parity", "experiments")


def imports(file):
    """Give the dotted names that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{file}: write imports from the root"
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(name):
    """Give the room of a dotted name below parity, as ROOMS has it."""
    part = [*name.split("."), ""][1]
    folder = ROOT / "parity" / part
    return part if part and (folder.is_dir() or folder.with_suffix(".py").exists()) else "__init__"


def sources(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    return files


def test_rooms_import_only_what_is_below_them():
    wrong = []
    for file in sources("parity"):
        here = room(".".join(file.relative_to(ROOT).with_suffix("").parts))
        for name in imports(file):
            if name.split(".")[0] == "parity" and ROOMS.index(room(name)) > ROOMS.index(here):
                wrong.append(
                    f"{file.relative_to(ROOT)} ({here}) imports {name} ({room(name)}), a room above it"
                )
    assert wrong == []


def test_every_room_is_named():
    here = {path.stem for path in (ROOT / "parity").glob("*.py")}
    here |= {path.parent.name for path in (ROOT / "parity").glob("*/__init__.py")}
    assert here == set(ROOMS)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_is_below_them(package):
    above = PACKAGES[PACKAGES.index(package) + 1 :] + (
        ("torch", "torchvision") if package == "flaxcnn" else ()
    )
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in sources(package)
        for name in imports(file)
        if name.split(".")[0] in above
    ]
    assert wrong == []


def test_files_do_not_import_each_other_in_a_circle():
    names = {}
    for package in PACKAGES:
        for file in sources(package):
            parts = file.relative_to(ROOT).with_suffix("").parts
            names[".".join(parts).removesuffix(".__init__")] = file
    arrows = {}
    for name, file in names.items():
        # `from a import b` is of the module a.b if there is one, else of a; a package's own face is not an arrow.
        targets = {n if n in names else n.rpartition(".")[0] for n in imports(file)}
        arrows[name] = {t for t in targets if t in names and t != name and names[t].name != "__init__.py"}
    done, path = set(), []

    def walk(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            path.append(name)
            for target in sorted(arrows[name]):
                walk(target)
            path.pop()
            done.add(name)

    for name in sorted(arrows):
        walk(name)


def test_the_experiments_are_in_wings():
    wings = {path.parent.name for path in (ROOT / "experiments").glob("*/__init__.py")}
    assert wings == {"training", "performance", "instrument", "autodiff"}
    shared = {path.stem for path in (ROOT / "experiments").glob("*.py")}
    assert shared == {"__init__", "markdown", "record", "settings_table", "tables"}
