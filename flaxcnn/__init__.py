"""flaxcnn: convolutional and residual networks in Flax, trained as pure functions.

Start at `flaxcnn.models` (the networks), `flaxcnn.functional` (a network as a pure function) and
`flaxcnn.train` (the jit-compiled step and the loop around it); `flaxcnn --help` is the command. `flaxcnn.fit` trains
on arrays, and `flaxcnn.load` reads what was trained.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Fitted", "__version__", "fit", "load"]


def __getattr__(name: str) -> Any:
    """Give what trains from Python, on first use: it brings JAX along, and `import flaxcnn` shall be light."""
    if name in ("Fitted", "fit", "load"):
        from flaxcnn import fitted

        return getattr(fitted, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
