"""Convolutions and matrix products in float32 by oneDNN, the library inside XLA's CPU compiler.

XLA itself turns operations into oneDNN calls only under an experimental flag, for a whole program at once, and not in
every version. Every version compiles the calls, though. So this module writes single calls, where they are fastest.
The calls are not a public interface of XLA: `onednn_support` tells whether they may be made. If not, other rules
compute.

JAX cannot serialise a compiled program that contains such a call (jaxlib 0.10 and 0.12 raise a `MemoryError`). So a
program that JAX would write to its persistent compilation cache contains none: calls are made only without a cache or
under `never_stored`, and only where the rule `onednn` is allowed, as in the training step.

Reference: `xla/service/cpu/onednn_config.proto` of OpenXLA for the configuration, in which 64-bit numbers are strings;
oneDNN's documentation of its convolution and matmul primitives.
"""

import contextlib
import json
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jaxtyping import Array, Float

from flaxcnn.ops.cpu.plain_convolution import exchanged
from flaxcnn.ops.geometry import Axis, axis

# The prefix of every call's name, in a lowered program too.
PREFIX = "__onednn$"
# oneDNN allocates its own memory for intermediate results and takes the kernel in XLA's layout.
_OPTIONS: dict[str, Any] = {"bias_broadcast": False, "user_scratchpad": False, "weights_prepacked": False}
_IMAGES = {"data": {"batch_dim": "0", "feature_dim": "3", "spatial_dims": ["1", "2"]}, "dims": "0"}


def convolution(
    x: Float[Array, "n h w ci"],
    kernel: Float[Array, "kh kw cig co"],
    spatial: tuple[Axis, Axis],
    groups: int = 1,
) -> Float[Array, "n ho wo co"]:
    """The convolution that `conv2d` defines, without the bias; the padding must not be negative."""
    return _convolution(x, kernel, spatial, groups, kernel.shape[3], ("2", "3"))


def convolution_with_exchanged(
    x: Float[Array, "n h w co"],
    kernel: Float[Array, "kh kw cig co"],
    spatial: tuple[Axis, Axis],
    groups: int = 1,
) -> Float[Array, "n ho wo ci"]:
    """The convolution with `plain_convolution.exchanged(kernel, groups)`.

    Without groups oneDNN exchanges the channels itself, when it converts the kernel to its own layout. XLA would
    make a transposed copy, which takes longer than the convolution for a kernel of 512 by 512 channels.
    """
    if groups > 1:
        return convolution(x, exchanged(kernel, groups), spatial, groups)
    return _convolution(x, kernel[::-1, ::-1], spatial, 1, kernel.shape[2], ("3", "2"))


def input_gradient(
    cotangent: Float[Array, "n ho wo co"],
    kernel: Float[Array, "kh kw cig co"],
    spatial: tuple[Axis, Axis],
    groups: int = 1,
) -> Float[Array, "n h w ci"]:
    """The gradient of the input of a convolution with stride 1 and a padding below its window: a convolution too."""
    height, width = (
        axis(one.output, one.window, 1, one.dilation, (one.span - 1 - one.before, one.span - 1 - one.after))
        for one in spatial
    )
    return convolution_with_exchanged(cotangent, kernel, (height, width), groups)


def _convolution(
    x: Array, kernel: Array, spatial: tuple[Axis, Axis], groups: int, outputs: int, features: tuple[str, str]
) -> Array:
    """Call oneDNN; `features` holds the kernel's dimensions of the input and of the output channels."""
    filters = {
        "input_feature_dim": features[0],
        "output_feature_dim": features[1],
        "shape": _numbers(kernel.shape),
        "spatial_dims": ["0", "1"],
    }
    window = {
        "size": [],
        "strides": _numbers([one.stride for one in spatial]),
        "pad_left": _numbers([one.before for one in spatial]),
        "pad_right": _numbers([one.after for one in spatial]),
        "window_dilations": _numbers([one.dilation for one in spatial]),
    }
    config = {
        "dims": "4",
        "feature_groups": str(groups),
        "input": _IMAGES,
        "kernel": {"dims": "0", "filter": filters},
        "output": _IMAGES,
        "window": window,
        "optimization_config": _OPTIONS,
    }
    shape = x.shape[0], spatial[0].output, spatial[1].output, outputs
    return _call("convolution", {"onednn_conv_config": config}, shape, x, kernel)


def outer_products(a: Float[Array, "*b k m"], b: Float[Array, "*b k n"]) -> Float[Array, "*b m n"]:
    """The matrix products a^T b."""
    config = {"transpose_a": True, "transpose_b": False, "optimization_config": _OPTIONS}
    shape = *a.shape[:-2], a.shape[-1], b.shape[-1]
    return _call("matmul", {"onednn_matmul_config": config}, shape, a, b)


def _numbers(values: Sequence[int]) -> list[str]:
    return [str(value) for value in values]


def _call(name: str, config: dict[str, Any], shape: tuple[int, ...], *arrays: Array) -> Array:
    call = jax.ffi.ffi_call(
        f"{PREFIX}{name}",
        jax.ShapeDtypeStruct(shape, arrays[0].dtype),
        custom_call_api_version=2,
        legacy_backend_config=json.dumps(config),
    )
    return call(*arrays)


@contextlib.contextmanager
def never_stored() -> Iterator[None]:
    """Keep programs that are compiled inside out of JAX's persistent compilation cache.

    JAX has one such setting for the whole process. The first thread that enters changes it, and the last one that
    leaves restores it, so that no thread restores the change of another. Programs that other threads compile meanwhile
    are not stored either: the next process compiles them again.
    """
    _unstored.enter()
    try:
        yield
    finally:
        _unstored.leave()


class _Unstored:
    """The number of threads inside `never_stored`, and the user's setting to restore."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = 0.0

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = getattr(jax.config, _CACHE_FROM)
                jax.config.update(_CACHE_FROM, math.inf)
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                jax.config.update(_CACHE_FROM, self._before)


# The setting's name: JAX stores programs that took at least this many seconds to compile.
_CACHE_FROM = "jax_persistent_cache_min_compile_time_secs"
_unstored = _Unstored()
