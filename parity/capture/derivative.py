"""Is the reference itself exact? Its derivative against a central difference, in float64.

For a module f with recorded input x, cotangent g of its output and cotangent d of its input, along v:

    <d, v>  should equal  D(h) = (<g, f(x + h v)> - <g, f(x - h v)>) / (2 h)

PyTorch's float64 backward of `hardsigmoid`, for example, multiplies by a single-precision 1/6.

At a kink, such as the tie of a maximum, there is no derivative: D is the mean of the two one-sided ones, and <d, v> may
be any value between them. A convention is not an error, so what kinks explain is none.
"""

import copy
import itertools

import numpy as np
import torch

from parity.capture.trace import Call, Trace

_STEPS = tuple(10.0**-exponent for exponent in range(2, 8))
# Of the search for kinks: so small that few elements pass one on the way, and far above rounding.
_KINK_STEP = 1e-6


def derivative_error(module: torch.nn.Module, call: Call, trace: Trace) -> float | None:
    """The relative error |<d, v> - D| / |D| of a module's own derivative along v = sign(d).

    With that v no term of <d, v> cancels another. D is taken at the step where it changes least; a difference
    that is not resolved from the noise of D, or that kinks explain, or a derivative that is zero, gives None.

    Args:
        module: in float64 and in the mode of the trace.
        call: the call of this module.
        trace: a float64 run of PyTorch.
    """
    x, d = trace.get(call, "input"), trace.get(call, "input_cotangent")
    g = trace.get(call, "output_cotangent")
    if call.inputs != 1 or call.outputs != 1 or x is None or d is None or g is None or not np.any(d):
        return None
    v, exact = np.sign(d), float(np.sum(np.abs(d)))
    size = float(np.sqrt(np.mean(np.square(x)))) or 1.0

    def moved(step: float) -> np.ndarray:
        # A fresh copy each time: a batch norm in train mode changes its statistics.
        with torch.no_grad():
            return copy.deepcopy(module)(torch.from_numpy(x + step * v)).numpy()

    def along(step: float) -> float:
        return float(np.sum(g * moved(step)))

    def bent(step: float) -> np.ndarray:
        """Half of how the one-sided differences differ: the same at every step at a kink, else in its proportion."""
        return (moved(step) - 2 * moved(0.0) + moved(-step)) / (2 * step)

    estimates = [(along(h * size) - along(-h * size)) / (2 * h * size) for h in _STEPS]
    noises = [abs(a - b) for a, b in itertools.pairwise(estimates)]
    best = int(np.argmin(noises))
    difference = estimates[best + 1]
    error = abs(exact - difference)
    if difference == 0.0 or error < 4 * noises[best]:
        return None
    kinks = 2 * bent(_KINK_STEP * size / 2) - bent(_KINK_STEP * size)
    if error <= 2 * float(np.sum(np.abs(g * kinks))):
        return None
    return error / abs(difference)
