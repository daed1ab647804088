"""Both sides, as a probe needs them: to be run again on other tensors, with PyTorch's weights on each."""

import dataclasses
from typing import Any

import numpy as np

from parity.capture.flax import FlaxModel, capture_flax
from parity.capture.reference import Reference
from parity.capture.torch import capture_torch
from parity.capture.trace import Trace
from parity.matching.axes import Layout, inputs_to_flax
from parity.matching.weights import WeightPlan
from parity.verdict.policy import Policy


@dataclasses.dataclass(frozen=True)
class Sides:
    """The two models of a comparison.

    Attributes:
        reference: PyTorch's side; `reference.model` is None where only a capture of it is at hand.
        flax: the adapter of the Flax model.
        inputs: in Flax's layout; `reference.inputs` are the same in PyTorch's.
        plan: which parameter is which.
        params, state: Flax's arrays by name, with PyTorch's values.
        mapping: the user's map of names.
        seed: of everything that is drawn.
        policy: by which a difference is one.
        layout: of every input, whether its channels go last in Flax.
    """

    reference: Reference
    flax: FlaxModel
    inputs: list[np.ndarray]
    plan: WeightPlan
    params: dict[str, np.ndarray]
    state: dict[str, np.ndarray]
    mapping: dict[str, str]
    seed: int
    policy: Policy
    layout: Layout

    def to_flax(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Inputs of PyTorch's in Flax's layout."""
        return inputs_to_flax(inputs, self.layout)

    def run_torch(self, mode: str, dtype: str, inputs: list[np.ndarray]) -> Trace:
        """Record one forward run of the PyTorch side, where its model is at hand."""
        assert self.reference.model is not None
        return capture_torch(
            self.reference.model(),
            inputs,
            mode=mode,
            dtype=dtype,
            seed=self.seed,
            objective=None,
            with_inputs=True,
            on_disk=self.reference.on_disk,
            output=self.reference.output,
        )

    def run_flax(
        self,
        mode: str,
        dtype: str,
        *,
        inputs: list[np.ndarray] | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> Trace:
        """Record one run of the Flax side; see `capture_flax` for the options."""
        return capture_flax(
            self.flax,
            self.params,
            self.state,
            self.inputs if inputs is None else inputs,
            mode=mode,
            dtype=dtype,
            seed=self.seed if seed is None else seed,
            on_disk=self.reference.on_disk,
            **options,
        )
