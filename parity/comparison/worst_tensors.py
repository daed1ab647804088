"""The worst tensors of a comparison, kept for the pictures of the report."""

import dataclasses
from pathlib import Path

import numpy as np

from parity.capture.trace import save_arrays
from parity.comparison.entries import Runs
from parity.matching.axes import to_torch
from parity.matching.calls import Alignment
from parity.verdict.record import TENSORS_FILE, Report

# Enough for a picture, little enough for a page: the first examples of a batch, within this many elements.
_MOST_ELEMENTS = 1 << 16
_MOST_TENSORS = 8


@dataclasses.dataclass
class Tensors:
    """Float64 pairs (PyTorch, Flax as it runs) by "mode/layer/quantity", the widest gaps only."""

    pairs: dict[str, tuple[float, np.ndarray, np.ndarray]] = dataclasses.field(default_factory=dict)

    def add(self, mode: str, alignment: Alignment, runs: Runs) -> None:
        """Consider the outputs and output cotangents of one mode."""
        for site in alignment.sites:
            for what, name in (("output", "output"), ("output_cotangent", "output cotangent")):
                if what == "output_cotangent" and not site.torch.path:
                    # That of the whole model is the objective's own, given to both sides and recorded on one.
                    continue
                ours, theirs = runs.torch64.get(site.torch, what), runs.flax64.get(site.flax, what)
                if ours is None or theirs is None or not ours.size:
                    continue
                # A scalar, such as a loss, is kept as a vector of one.
                ours, moved = np.atleast_1d(ours, to_torch(theirs, ours.shape, site.torch.last_axis))
                scale = float(np.max(np.abs(ours))) or 1.0
                gap = float(np.max(np.abs(moved - ours))) / scale
                rows = max(1, _MOST_ELEMENTS // max(1, ours[:1].size))
                self.pairs[f"{mode}/{site.name}/{name}"] = (gap, ours[:rows].copy(), moved[:rows].copy())
        widest = sorted(self.pairs, key=lambda key: -self.pairs[key][0])
        first = next((key for key in self.pairs if self.pairs[key][0] > 1e-9), None)
        kept = {*widest[:_MOST_TENSORS], first}
        self.pairs = {key: pair for key, pair in self.pairs.items() if key in kept}

    def save(self, directory: Path, report: Report) -> None:
        """Write `tensors.npz`: for each kept key the arrays "torch/KEY" and "flax/KEY"."""
        arrays = {f"torch/{key}": ours for key, (_, ours, _) in self.pairs.items()}
        arrays |= {f"flax/{key}": theirs for key, (_, _, theirs) in self.pairs.items()}
        save_arrays(directory / TENSORS_FILE, arrays)
