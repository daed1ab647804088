"""Where a figure was measured: machine, versions and date, stored beside every recorded number."""

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Collection
from typing import Any

PACKAGES = ("flaxcnn", "jax", "jaxlib", "flax", "optax", "numpy", "torch", "torchvision")


def environment() -> dict[str, Any]:
    """Machine, devices, versions of what matters to a result, and the date."""
    import jax

    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": platform.machine(),
        "processor": _cpuinfo("model name") or platform.processor(),
        "vectors": vectors((_cpuinfo("flags") or _cpuinfo("Features")).split()),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "versions": {name: version for name in PACKAGES if (version := _version(name)) is not None},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def vectors(flags: Collection[str]) -> str:
    """The widest vectors among a processor's flags, on which the speed of its arithmetic depends."""
    known = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "asimd": "NEON"}
    return next((name for flag, name in known.items() if flag in flags), "unknown vectors")


def _cpuinfo(field: str) -> str:
    """What Linux says of the first core; `platform.processor()` knows nothing there."""
    try:
        with open("/proc/cpuinfo") as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith(field)), "")
    except OSError:
        return ""
