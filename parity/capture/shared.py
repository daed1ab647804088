"""Variables that several paths of an NNX model reach: tied weights, and modules that are shared as a whole."""

from collections.abc import Collection, Iterator

from flax import nnx


def every_path(
    module: nnx.Module, path: str = "", above: tuple[int, ...] = ()
) -> Iterator[tuple[str, nnx.Module]]:
    """Every module under every path that reaches it."""
    if id(module) in above:
        return
    yield path, module
    for name, value in vars(module).items():
        if isinstance(value, nnx.Module):
            yield from every_path(value, f"{path}.{name}" if path else name, (*above, id(module)))


def aliases(paths: dict[str, nnx.Module], known: Collection[str]) -> dict[str, dict[str, str]]:
    """The second names of shared variables.

    Args:
        paths: every module under every path.
        known: the full names under which the model's arrays are kept, one for each.

    Returns:
        By the module's path, from the name there to the full name that is known.
    """
    names: dict[int, list[tuple[str, str]]] = {}
    for path, module in paths.items():
        for name, value in vars(module).items():
            if isinstance(value, nnx.Variable):
                names.setdefault(id(value), []).append((path, name))
    found: dict[str, dict[str, str]] = {}
    for several in names.values():
        full = {f"{path}.{name}" if path else name: (path, name) for path, name in several}
        first = next((name for name in full if name in known), None)
        for other, (path, name) in full.items():
            if first is not None and other != first:
                found.setdefault(path, {})[name] = first
    return found
