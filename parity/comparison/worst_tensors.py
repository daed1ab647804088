"""The worst tensors of a comparison, kept for the pictures of the report."""

import dataclasses
from pathlib import Path

import numpy as np

from parity.capture.trace import save_arrays
from parity.comparison.entries import Runs
from parity.matching.axes import to_torch
from parity.matching.calls import Alignment
from parity.verdict.record import TENSORS_FILE, Report

# Only the first examples of a batch are kept, within so many elements, so that a page with a picture stays small.
_MOST_ELEMENTS = 1 << 16
_MOST_TENSORS = 8


@dataclasses.dataclass
class Tensors:
    """(gap, PyTorch's tensor, Flax's) in float64 by "mode/layer/quantity": the first gap and the largest ones."""

    pairs: dict[str, tuple[float, np.ndarray, np.ndarray]] = dataclasses.field(default_factory=dict)

    def add(self, mode: str, alignment: Alignment, runs: Runs) -> None:
        """Consider the outputs and output cotangents of one mode."""
        for site in alignment.sites:
            for what, name in (("output", "output"), ("output_cotangent", "output cotangent")):
                if what == "output_cotangent" and not site.torch.path:
                    # The objective's own cotangent is the same on both sides, and only one side records it.
                    continue
                torch_value, flax_value = runs.torch64.get(site.torch, what), runs.flax64.get(site.flax, what)
                if torch_value is None or flax_value is None or not torch_value.size:
                    continue
                flax_value = to_torch(flax_value, torch_value.shape, site.torch.last_axis)
                # A scalar, such as a loss, is kept as a vector of one element.
                torch_value, flax_value = np.atleast_1d(torch_value, flax_value)
                scale = float(np.max(np.abs(torch_value))) or 1.0
                gap = float(np.max(np.abs(flax_value - torch_value))) / scale
                rows = max(1, _MOST_ELEMENTS // max(1, torch_value[:1].size))
                pair = torch_value[:rows].copy(), flax_value[:rows].copy()
                self.pairs[f"{mode}/{site.name}/{name}"] = (gap, *pair)
        largest = sorted(self.pairs, key=lambda key: -self.pairs[key][0])
        first = next((key for key in self.pairs if self.pairs[key][0] > 1e-9), None)
        kept = {*largest[:_MOST_TENSORS], first}
        self.pairs = {key: pair for key, pair in self.pairs.items() if key in kept}

    def save(self, directory: Path, report: Report) -> None:
        """Write `tensors.npz`: for each kept key the arrays "torch/KEY" and "flax/KEY"."""
        arrays = {f"torch/{key}": torch_value for key, (_, torch_value, _) in self.pairs.items()}
        arrays |= {f"flax/{key}": flax_value for key, (_, _, flax_value) in self.pairs.items()}
        save_arrays(directory / TENSORS_FILE, arrays)
