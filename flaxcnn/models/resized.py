"""A model of the registry with smaller layers: the shapes of its arrays, and what else is different about it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax import nnx

from flaxcnn.errors import FlaxcnnError
from flaxcnn.functional import bind, functional
from flaxcnn.models.factored import factored
from flaxcnn.models.layers import Conv, Dense
from flaxcnn.models.replaced import replace_layer

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
        factored: the layers that are two, see `flaxcnn.models.factored`.
        inputs: scale and zero point of the 8-bit numbers to which the input of a layer is rounded, by name.
    """

    shapes: dict[str, tuple[int, ...]]
    groups: dict[str, int] = dataclasses.field(default_factory=dict)
    factored: tuple[str, ...] = ()
    inputs: dict[str, tuple[float, int]] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """As `architecture.json` has it: an object with an array of sizes for each name."""
        shapes = ",\n".join(f"    {json.dumps(name)}: {list(shape)}" for name, shape in self.shapes.items())
        others = {"groups": self.groups, "factored": list(self.factored), "inputs": self.inputs}
        lines = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in others.items())
        return f'{{\n{lines}  "shapes": {{\n{shapes}\n  }}\n}}\n'

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
            return cls(
                shapes,
                {name: int(groups) for name, groups in content["groups"].items()},
                tuple(map(str, content.get("factored", ()))),
                {
                    name: (float(scale), int(zero))
                    for name, (scale, zero) in content.get("inputs", {}).items()
                },
            )
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
    model, shapes = _with_factors(model, architecture), architecture.shapes
    parts = functional(model)
    arrays: dict[str, Any] = parts.params | parts.state
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
        if isinstance(module, Conv | Dense) and name in architecture.inputs:
            module.rounding = architecture.inputs[name]
    return copy


def _with_factors(model: nnx.Module, architecture: Architecture) -> nnx.Module:
    """A copy of a model with two layers where the architecture has two, of the rank that it has."""
    if not architecture.factored:
        return model
    copy = nnx.clone(model)
    layers = {".".join(map(str, path)) for path, module in nnx.iter_modules(copy) if _can_be_two(module)}
    for name in architecture.factored:
        shape = architecture.shapes.get(f"{name}.0.weight", ())
        if name not in layers or not shape or shape[-1] < 1:
            raise ArchitectureError(
                f"The architecture is of another model: it has two layers for {name}; expected the model that was "
                "compressed."
            )
        replace_layer(copy, name, lambda layer, rank=shape[-1]: factored(layer, rank))
    return copy


def _can_be_two(module: nnx.Module) -> bool:
    return isinstance(module, Dense) or (isinstance(module, Conv) and module.groups == 1)


def _fits(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    return len(shape) == len(whole) and all(
        1 <= size <= most for size, most in zip(shape, whole, strict=True)
    )
