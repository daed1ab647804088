"""A JAX primitive for a function of arrays that has one implementation for the CPU and another for other platforms.

`jax.lax.platform_dependent` chooses by platform too, but JAX differentiates each of its branches. A primitive has one
derivative, in forward and in reverse mode, whichever implementation computes it.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from jax.sharding import AxisType
from jaxtyping import Array


def is_divided(*arrays: Array) -> bool:
    """Whether the types of the arrays hold their sharding: explicit sharding, or inside `shard_map`.

    The primitives do not handle such types, so the plain rules compute them. Arrays that XLA divides itself are fine.
    """
    meshes = [jax.typeof(array).sharding.mesh for array in arrays]
    return any(kind != AxisType.Auto for mesh in meshes for kind in mesh.axis_types)


# The prefix of the primitives' names.
PREFIX = "flaxcnn_"
# For each primitive, a function from its options to its implementation for the CPU.
_FUNCTIONS: dict[Primitive, Callable[..., Callable[..., Array]]] = {}


def function_on_cpu(primitive: Primitive, options: dict[str, Any]) -> Callable[..., Array] | None:
    """The CPU implementation of a primitive of this module, for code that walks a jaxpr; None for other primitives."""
    made = _FUNCTIONS.get(primitive)
    return None if made is None else made(tuple(options.items()))


def platform_primitive(
    name: str, plain: Callable[..., Array], on_cpu: Callable[..., Array]
) -> tuple[Primitive, Callable[..., tuple[Array, int]]]:
    """Make a primitive without derivatives; the caller defines those.

    Args:
        name: the name that a jaxpr shows.
        plain: `(*arrays, **options) -> array`; options are hashable. It defines shape and dtype, is used under
            `vmap`, and computes on every platform but the CPU.
        on_cpu: the implementation of the same function for the CPU.

    Returns:
        (the primitive, its `vmap` rule, on which a rule of the caller can fall back).
    """
    primitive = Primitive(f"{PREFIX}{name}")

    def abstract(*arrays: Any, **options: Any) -> Any:
        given = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays]
        out = jax.eval_shape(functools.partial(plain, **options), *given)
        return arrays[0].update(shape=out.shape, dtype=out.dtype, weak_type=False)

    def batched(arrays: tuple[Array, ...], axes: tuple[Any, ...], **options: Any) -> tuple[Array, int]:
        return jax.vmap(functools.partial(plain, **options), axes)(*arrays), 0

    @functools.cache
    def compiled(options: tuple[tuple[str, Any], ...]) -> Callable[..., Array]:
        return jax.jit(lambda *arrays: primitive.bind(*arrays, **dict(options)))

    @functools.cache
    def inlined(options: tuple[tuple[str, Any], ...]) -> Callable[..., Array]:
        return jax.jit(lambda *arrays: on_cpu(*arrays, **dict(options)))

    _FUNCTIONS[primitive] = inlined
    primitive.def_impl(lambda *arrays, **options: compiled(tuple(options.items()))(*arrays))
    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batched
    mlir.register_lowering(primitive, mlir.lower_fun(plain, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu")
    return primitive, batched
