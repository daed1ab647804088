"""Is the reference itself exact? Its derivative against a central difference, in float64.

For a module f with recorded input x, cotangent g of its output and cotangent d of its input, along v:

    <d, v>  should equal  D(h) = (<g, f(x + h v)> - <g, f(x - h v)>) / (2 h)

PyTorch's float64 backward of `hardsigmoid`, for example, multiplies by a single-precision 1/6.
"""

import copy
import itertools

import numpy as np
import torch

from parity.trace import Call, Trace

_STEPS = tuple(10.0**-exponent for exponent in range(2, 8))


def derivative_error(module: torch.nn.Module, call: Call, trace: Trace) -> float | None:
    """The relative error |<d, v> - D| / |D| of a module's own derivative along v = sign(d).

    With that v no term of <d, v> cancels another. D is taken at the step where it changes least; a difference
    that is not resolved from the noise of D, or a derivative that is zero, gives None.

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

    def along(step: float) -> float:
        # A fresh copy each time: a batch norm in train mode changes its statistics.
        with torch.no_grad():
            y = copy.deepcopy(module)(torch.from_numpy(x + step * v))
        return float(np.sum(g * y.numpy()))

    estimates = [(along(h * size) - along(-h * size)) / (2 * h * size) for h in _STEPS]
    noises = [abs(a - b) for a, b in itertools.pairwise(estimates)]
    best = int(np.argmin(noises))
    difference = estimates[best + 1]
    error = abs(exact - difference)
    if difference == 0.0 or error < 4 * noises[best]:
        return None
    return error / abs(difference)
