"""The worst tensors that a check kept in its folder, for the pictures of the page."""

import dataclasses
import zipfile
from pathlib import Path

import numpy as np

from parity.errors import TraceError
from parity.verdict.record import TENSORS_FILE


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """One tensor of both sides in float64 and PyTorch's layout, the models as they run."""

    mode: str
    layer: str
    quantity: str
    torch: np.ndarray
    flax: np.ndarray

    @property
    def gap(self) -> np.ndarray:
        """|a64 - b64|, elementwise."""
        return np.asarray(np.abs(self.flax - self.torch))

    @property
    def relative_gap(self) -> float:
        """The largest gap over the largest value."""
        scale = float(np.max(np.abs(self.torch), initial=0.0))
        return float(np.max(self.gap, initial=0.0)) / (scale or 1.0)


def load(directory: str | Path) -> list[Pair]:
    """The pairs in `directory`, the widest relative gap first; none if it keeps no tensors.

    The arrays are called "torch/MODE/LAYER/QUANTITY" and "flax/MODE/LAYER/QUANTITY".

    Raises:
        TraceError: the file is damaged.
    """
    path = Path(directory) / TENSORS_FILE
    if not path.exists():
        return []
    try:
        # Opened here, since NumPy leaves a file that it cannot read open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            names = [name.removeprefix("torch/") for name in stored.files if name.startswith("torch/")]
            pairs = [_pair(name, stored[f"torch/{name}"], stored[f"flax/{name}"]) for name in names]
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
        raise TraceError(f"{path} is damaged and cannot be read ({error}): run the check again.") from None
    return sorted(pairs, key=lambda pair: -pair.relative_gap)


def _pair(name: str, torch: np.ndarray, flax: np.ndarray) -> Pair:
    mode, _, rest = name.partition("/")
    layer, _, quantity = rest.rpartition("/")
    if torch.shape != flax.shape:
        raise ValueError(f"{name} has two shapes, {list(torch.shape)} and {list(flax.shape)}")
    return Pair(mode, layer, quantity, torch.astype(np.float64), flax.astype(np.float64))
