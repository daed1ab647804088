"""Convolutions and matrix products by oneDNN, the library that XLA's CPU compiler brings along.

XLA rewrites an operation into a call of oneDNN itself only where an experimental flag says so, for a whole program at
a time and not in every version. The calls themselves are compiled by all of them; here they are made one by one, where
they are the fastest. They are no public interface of XLA: `onednn_support` says where they may be made, and elsewhere
other rules compute. Only float32.

JAX fails to serialise a compiled program that has such a call (jaxlib 0.10 and 0.12: a `MemoryError`). So none is made
in what JAX would write to its persistent compilation cache: without a cache, or under `never_stored`, and only by what
asks for it, as the training step does.

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

# Begins the name of every call, in a lowered program too.
PREFIX = "__onednn$"
# oneDNN's own memory for intermediate results, and a kernel in the layout that XLA has.
_OPTIONS: dict[str, Any] = {"bias_broadcast": False, "user_scratchpad": False, "weights_prepacked": False}
_IMAGES = {"data": {"batch_dim": "0", "feature_dim": "3", "spatial_dims": ["1", "2"]}, "dims": "0"}


def convolution(
    x: Float[Array, "n h w ci"],
    kernel: Float[Array, "kh kw cig co"],
    spatial: tuple[Axis, Axis],
    groups: int = 1,
) -> Float[Array, "n ho wo co"]:
    """The convolution that `conv2d` defines, without the bias; padding that is not negative."""
    return _convolution(x, kernel, spatial, groups, kernel.shape[3], ("2", "3"))


def convolution_with_exchanged(
    x: Float[Array, "n h w co"],
    kernel: Float[Array, "kh kw cig co"],
    spatial: tuple[Axis, Axis],
    groups: int = 1,
) -> Float[Array, "n ho wo ci"]:
    """The convolution with `plain_convolution.exchanged(kernel, groups)`.

    Without groups oneDNN exchanges the channels itself, while it puts the kernel into a layout of its own: XLA's
    transposed copy of a kernel of 512 by 512 channels takes longer than the convolution.
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
    """The gradient of the images of a convolution of stride 1, padded by less than its window: a convolution too."""
    height, width = (
        axis(one.output, one.window, 1, one.dilation, (one.span - 1 - one.before, one.span - 1 - one.after))
        for one in spatial
    )
    return convolution_with_exchanged(cotangent, kernel, (height, width), groups)


def _convolution(
    x: Array, kernel: Array, spatial: tuple[Axis, Axis], groups: int, outputs: int, features: tuple[str, str]
) -> Array:
    """Arguments: as above, and which dimensions of the kernel are what is read and what is put out."""
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
    """Keep the programs that are compiled inside out of JAX's persistent compilation cache.

    JAX has this setting once for the process. It is changed when the first thread enters and restored when the last
    one leaves, so that threads cannot restore each other's change. Programs that other threads compile meanwhile are
    not stored either: they are compiled again in the next process.
    """
    _unstored.enter()
    try:
        yield
    finally:
        _unstored.leave()


class _Unstored:
    """How many are inside `never_stored`, and the user's setting to restore."""

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


# JAX stores programs that took at least so many seconds to compile.
_CACHE_FROM = "jax_persistent_cache_min_compile_time_secs"
_unstored = _Unstored()
