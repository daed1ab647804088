"""What is run: repositories, each at a commit, and the implementations in them; from `ports.toml`.

A reading is what someone found who read the stranger's code: whether a difference that the check names is there, and
the line that shows it.
"""

import dataclasses
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("ports.toml")


@dataclasses.dataclass(frozen=True)
class Repository:
    """A public repository at a commit.

    `roots` are the folders that Python imports from, `paths` those that are needed, `packages` what must be installed
    besides.
    """

    name: str
    commit: str
    roots: tuple[str, ...]
    paths: tuple[str, ...]
    packages: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The name of its folder among the fetched ones."""
        return self.name.replace("/", "+")


@dataclasses.dataclass(frozen=True)
class Reading:
    """What reading the code says of a difference: `true` if it is there, and where to see it.

    It speaks of the differences with this id at places that match. `file` and `line` are those of the repository.
    """

    id: str
    true: bool
    file: str
    line: int
    says: str
    place: str = "*"

    def speaks_of(self, identifier: str, place: str) -> bool:
        """Whether it judges a difference."""
        return self.id == identifier and fnmatchcase(place, self.place)


@dataclasses.dataclass(frozen=True)
class Port:
    """An implementation: MODULE:CALLABLE of both sides, as `parity check` takes them."""

    key: str
    repository: str
    what: str
    twin: str
    torch: str
    flax: str
    input: str
    readings: tuple[Reading, ...] = ()
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def reading(self, identifier: str, place: str) -> Reading | None:
        """The first reading that judges a difference."""
        return next((r for r in self.readings if r.speaks_of(identifier, place)), None)


@dataclasses.dataclass(frozen=True)
class Listing:
    """All repositories by name, and all implementations in order; and the file that says so."""

    path: Path
    repositories: dict[str, Repository]
    ports: tuple[Port, ...]


def read(path: Path = FILE) -> Listing:
    """The list of a file."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    repositories = [Repository(**_tuples(entry)) for entry in data["repository"]]
    ports = []
    for entry in data["port"]:
        readings = tuple(Reading(**reading) for reading in entry.pop("reading", ()))
        ports.append(Port(**entry, readings=readings))
    return Listing(path, {repository.name: repository for repository in repositories}, tuple(ports))


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}


def commands(listing: Listing, folder: Path) -> list[str]:
    """The commands that fetch every repository at its commit, with only the folders that are needed."""
    lines = []
    for repository in listing.repositories.values():
        target = folder / repository.folder
        lines += [
            f"git clone --filter=blob:none --no-checkout https://github.com/{repository.name}.git {target}",
            f"git -C {target} sparse-checkout set --no-cone {' '.join(repository.paths)}",
            f"git -C {target} checkout {repository.commit}",
        ]
    packages = sorted({name for repository in listing.repositories.values() for name in repository.packages})
    return [*lines, f"pip install {' '.join(packages)}"]
