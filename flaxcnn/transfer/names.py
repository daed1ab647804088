"""The parameters of a network by name: patterns, the head, the stages in the network's own order."""

import fnmatch
from collections.abc import Iterable, Iterator

from flax import nnx

from flaxcnn.config import ConfigError
from flaxcnn.errors import hint
from flaxcnn.models.blocks import Residual
from flaxcnn.models.layers import BatchNorm, Conv, Dense

# Stands for everything below the last dense layer.
ALL_BUT_HEAD = "all-but-head"


def matches(name: str, pattern: str) -> bool:
    """Whether a glob pattern fits a parameter, such as `layer1.0.conv1.weight`, or a module that it belongs to."""
    parts = name.split(".")
    return any(fnmatch.fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))


def matching(names: Iterable[str], pattern: str, setting: str, model: nnx.Module) -> frozenset[str]:
    """The parameters that a pattern means.

    Args:
        names: the parameters to look among.
        pattern: as `matches` takes it, or `all-but-head`.
        setting: that holds it, for the error.
        model: whose parameters they are.

    Raises:
        ConfigError: it means none.
    """
    names = list(names)
    if pattern == ALL_BUT_HEAD:
        head = head_of(model)
        found = frozenset(name for name in names if not matches(name, head))
    else:
        found = frozenset(name for name in names if matches(name, pattern))
    if not found:
        modules = [".".join(name.split(".")[:end]) for name in names for end in (1, 2, 3)]
        raise ConfigError(
            f"{setting} holds the pattern {pattern!r}, which matches no parameter of the model that it could; "
            f"{hint(pattern, modules) if len(set(modules)) < 40 else _near(pattern, names)}"
        )
    return found


def _near(pattern: str, names: list[str]) -> str:
    said = hint(pattern, [*dict.fromkeys(name.split(".")[0] for name in names)])
    return said if said.startswith("did") else f"{said[:-1]}, or see `flaxcnn models NAME`."


def children(model: nnx.Module) -> Iterator[tuple[str, nnx.Module]]:
    """The modules of a model in the order in which it was put together, lists of others than blocks opened."""
    for name, module in vars(model).items():
        if isinstance(module, nnx.List) and not all(isinstance(item, Residual) for item in module):
            yield from ((f"{name}.{index}", item) for index, item in enumerate(module))
        elif isinstance(module, nnx.Module):
            yield name, module


def head_of(model: nnx.Module) -> str:
    """The name of the layer that gives the logits: the last dense one.

    Raises:
        ConfigError: the model has none.
    """
    found = [name for name, module in children(model) if isinstance(module, Dense)]
    if not found:
        raise ConfigError(f"The model {type(model).__name__} has no dense layer, and so no head to replace.")
    return found[-1]


def first_convolution(model: nnx.Module) -> str:
    """The name of the layer that sees the images.

    Raises:
        ConfigError: the model has no convolution.
    """
    found = _first(model, "")
    if found is None:
        raise ConfigError(f"The model {type(model).__name__} has no convolution, and so no stem.")
    return found


def _first(module: nnx.Module, name: str) -> str | None:
    if isinstance(module, Conv):
        return name
    parts = enumerate(module) if isinstance(module, nnx.List) else vars(module).items()
    for part, child in parts:
        if isinstance(child, nnx.Module):
            found = _first(child, f"{name}.{part}".lstrip("."))
            if found is not None:
                return found
    return None


def stages(model: nnx.Module, names: Iterable[str]) -> list[list[str]]:
    """The parameters by stage, from the images to the logits; a norm belongs to the stage before it."""
    found: list[list[str]] = []
    names = list(names)
    for child, module in children(model):
        own = [name for name in names if name.startswith(f"{child}.")]
        if own and isinstance(module, BatchNorm) and found:
            found[-1] += own
        elif own:
            found.append(own)
    return found
