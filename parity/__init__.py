"""parity: prove a Flax model equal to its PyTorch twin, layer by layer, or say where it is not.

`parity.check(torch_model, flax_model, inputs) -> Report`; `parity.assert_equivalent(...)` in a test. Nothing
imported here loads jax or torch, so that `parity --help` answers at once.
"""

from flaxcnn import __version__
from parity.check import assert_equivalent, capture_reference, check
from parity.errors import CannotCompare, TraceError, WeightsError
from parity.verdict.policy import Policy
from parity.verdict.record import Measurements, Report

__all__ = [
    "CannotCompare",
    "Measurements",
    "Policy",
    "Report",
    "TraceError",
    "WeightsError",
    "__version__",
    "assert_equivalent",
    "capture_reference",
    "check",
]
