"""The layers that a step is for, by their names."""

from flax import nnx

from flaxcnn.errors import InvalidArgument, hint
from flaxcnn.models.layers import Conv, Dense
from flaxcnn.transfer.names import matches


def modules_of(model: nnx.Module) -> dict[str, nnx.Module]:
    """The modules inside a model, by name, such as `layer1.0.conv1`."""
    named = {".".join(map(str, path)): module for path, module in nnx.iter_modules(model)}
    return {name: module for name, module in named.items() if name}


def products_of(model: nnx.Module, patterns: str = "*") -> dict[str, Conv | Dense]:
    """The convolutions and dense layers of a model whose names, or those of what they are in, fit a pattern.

    Args:
        model: a model.
        patterns: such as `layer3.*` or `conv*, fc`.

    Raises:
        InvalidArgument: a pattern fits none of them.
    """
    layers = {name: module for name, module in modules_of(model).items() if isinstance(module, Conv | Dense)}
    chosen: set[str] = set()
    for pattern in (part.strip() for part in patterns.split(",")):
        if not (found := [name for name in layers if matches(name, pattern)]):
            raise InvalidArgument(
                f"layers is {pattern!r}, which fits no convolution and no dense layer: {hint(pattern, layers)}"
            )
        chosen.update(found)
    return {name: module for name, module in layers.items() if name in chosen}
