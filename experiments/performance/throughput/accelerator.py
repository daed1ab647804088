"""The GPU, where there is one: its settings in both libraries, and its memory."""

import resource
import sys
from typing import Any

from experiments.performance.throughput.networks import Workload


def has_gpu() -> bool:
    """Whether the sides compute on a GPU."""
    import torch

    return torch.cuda.is_available()


def settle_jax(workload: Workload) -> None:
    """Set JAX to the precision of the workload; a CPU has only one."""
    import jax

    if jax.default_backend() != "cpu":
        precisions = {"float32": "float32", "tf32": "tensorfloat32"}
        jax.config.update("jax_default_matmul_precision", precisions[workload.precision])


def settle_torch(workload: Workload) -> Any:
    """Set PyTorch to the precision of the workload and to cuDNN's fastest algorithms; return its device."""
    import torch

    if not has_gpu():
        return torch.device("cpu")
    tf32 = workload.precision == "tf32"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda")


def peak_mebibytes() -> float:
    """The peak memory of this process: of the GPU if it computes there, else of the machine.

    Only the library that the side has imported is asked, because importing the other would take memory itself.
    """
    jax, torch = sys.modules.get("jax"), sys.modules.get("torch")
    if jax and jax.default_backend() != "cpu":
        return jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 2**20
    if torch and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def name_of(environment: dict[str, Any]) -> str:
    """The version of jax, and the name of the GPU or the processor's vectors."""
    platform, _, kind = environment["devices"][0].partition(": ")
    return f"{environment['versions']['jax']}, {environment['vectors'] if platform == 'cpu' else kind}"
