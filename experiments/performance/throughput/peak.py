"""The peak speed of the machine and the work of a step, for the share of the peak."""

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.performance.throughput.accelerator import settle_torch
from experiments.performance.throughput.networks import Workload
from experiments.performance.throughput.sides import Torch

_SIDES, _REPEATS = {"cpu": 2048, "cuda": 8192}, 7


def gemm_gflops(workload: Workload) -> float:
    """The fastest product of two square float32 matrices in the precision of the workload, in GFLOP/s."""
    device = settle_torch(workload)
    side = _SIDES[device.type]
    a, b = torch.randn(side, side, device=device), torch.randn(side, side, device=device)
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        product = torch.mm(a, b)
        # Reading a number waits for the GPU.
        product[0, 0].item()
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds) / 1e9


def step_gflop(workload: Workload) -> float:
    """The GFLOP of a step by the definition of its layers, as PyTorch counts them; a fast algorithm does fewer."""
    side = Torch(workload, compiled=False)
    with FlopCounterMode(display=False) as counter:
        side.step()
    return counter.get_total_flops() / 1e9
