"""The parameters and layers of the models, without allocating or drawing a weight."""

from typing import Any

import jax

from flaxcnn.functional import functional
from flaxcnn.models.initialise import shapes_only
from flaxcnn.models.registry import create, names


def shapes(name: str, **options: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and dtype of every parameter of a model, in the model's order, evaluated abstractly."""
    order: list[str] = []

    def parameters() -> dict[str, jax.Array]:
        params = functional(create(name, **options)).params
        order.extend(params)
        return params

    with shapes_only():
        abstract = jax.eval_shape(parameters)
    return {key: abstract[key] for key in order}


def layers(name: str, **options: Any) -> list[dict[str, Any]]:
    """Name, shape and size of every parameter."""
    return [
        {"name": key, "shape": list(value.shape), "size": value.size}
        for key, value in shapes(name, **options).items()
    ]


def models() -> list[dict[str, Any]]:
    """Name, number of parameters and of weight layers (convolutions and dense layers on the main path)."""
    rows = []
    for name in names():
        parameters = shapes(name)
        weights = [
            key for key, value in parameters.items() if value.ndim in (2, 4) and "downsample" not in key
        ]
        rows.append(
            {
                "name": name,
                "parameters": sum(value.size for value in parameters.values()),
                "layers": len(weights),
            }
        )
    return rows
