"""What the machine can do, and what a step needs: the two sides of "share of the peak"."""

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.throughput.networks import Setting
from experiments.throughput.sides import Torch

_SIDE, _REPEATS = 2048, 7


def gemm_gflops() -> float:
    """The fastest product of two square float32 matrices, in GFLOP/s."""
    a, b = torch.randn(_SIDE, _SIDE), torch.randn(_SIDE, _SIDE)
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - start)
    return 2 * _SIDE**3 / min(seconds) / 1e9


def step_gflop(setting: Setting) -> float:
    """The GFLOP of a step by the definition of its layers, as PyTorch counts them; a fast algorithm does fewer."""
    side = Torch(setting, compiled=False)
    with FlopCounterMode(display=False) as counter:
        side.step()
    return counter.get_total_flops() / 1e9
