"""A model of the registry with smaller layers: the shapes of its arrays, and the attributes that go with them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax import nnx

from flaxcnn.errors import FlaxcnnError
from flaxcnn.functional import bind, functional
from flaxcnn.models.layers import Conv

# In the run folder of a compressed model.
FILE = "architecture.json"


class ArchitectureError(FlaxcnnError):
    """Shapes that are damaged, or of another model."""


@dataclasses.dataclass(frozen=True)
class Architecture:
    """How a model differs from the one that the registry builds.

    Attributes:
        shapes: of every parameter and statistic, by name.
        groups: of each convolution with more than one, by name.
    """

    shapes: dict[str, tuple[int, ...]]
    groups: dict[str, int] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """As `architecture.json` has it: an object with an array of sizes for each name."""
        shapes = ",\n".join(f"    {json.dumps(name)}: {list(shape)}" for name, shape in self.shapes.items())
        return f'{{\n  "groups": {json.dumps(self.groups)},\n  "shapes": {{\n{shapes}\n  }}\n}}\n'

    @classmethod
    def of_run(cls, folder: Path) -> "Architecture | None":
        """That of a compressed run; None where the model is as the registry builds it.

        Raises:
            ArchitectureError: the file `architecture.json` is damaged.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            shapes = {name: tuple(map(int, shape)) for name, shape in content["shapes"].items()}
            return cls(shapes, {name: int(groups) for name, groups in content["groups"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ArchitectureError(
                f"{path} is damaged; expected the file that flaxcnn compress wrote."
            ) from None


def resized(model: nnx.Module, architecture: Architecture) -> nnx.Module:
    """A copy of a model with arrays of these shapes: the first indices of its own, along every axis.

    Args:
        model: as the registry builds it; it is not changed.
        architecture: what it shall be; no axis longer than the model's.

    Raises:
        ArchitectureError: it is that of another model.
    """
    parts = functional(model)
    arrays: dict[str, Any] = parts.params | parts.state
    shapes = architecture.shapes
    wrong = sorted(arrays.keys() ^ shapes.keys()) or [
        name for name, array in arrays.items() if not _fits(shapes[name], array.shape)
    ]
    if wrong:
        raise ArchitectureError(
            f"The architecture is of another model: {wrong[0]} differs ({len(wrong)} of {len(arrays)} arrays do); "
            "expected the model that was compressed."
        )
    parts, whole = (
        {name: jnp.asarray(array[tuple(map(slice, shapes[name]))]) for name, array in part.items()}
        for part in (parts.params, parts.state)
    )
    copy = bind(model, parts, whole)
    for path, module in nnx.iter_modules(copy):
        name = ".".join(map(str, path))
        if isinstance(module, Conv) and name in architecture.groups:
            module.groups = architecture.groups[name]
    return copy


def _fits(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    return len(shape) == len(whole) and all(
        1 <= size <= most for size, most in zip(shape, whole, strict=True)
    )
