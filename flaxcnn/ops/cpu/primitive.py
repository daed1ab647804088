"""A primitive of JAX for a function of arrays that is computed in one way on the CPU and in another elsewhere.

`jax.lax.platform_dependent` chooses by platform too, but its branches are differentiated one by one; a primitive gets
one derivative, in forward and in reverse mode, whatever computes it.
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
    """Whether the types of the arrays say how devices share them: explicit sharding, or inside `shard_map`.

    The primitives know nothing of that, so such arrays are for the plain rules; what XLA divides by itself is not.
    """
    meshes = [jax.typeof(array).sharding.mesh for array in arrays]
    return any(kind != AxisType.Auto for mesh in meshes for kind in mesh.axis_types)


# What the names of the primitives made here begin with.
PREFIX = "flaxcnn_"
# They, each with the function that computes it on the CPU, given its options.
_FUNCTIONS: dict[Primitive, Callable[..., Callable[..., Array]]] = {}


def function_on_cpu(primitive: Primitive, options: dict[str, Any]) -> Callable[..., Array] | None:
    """What computes a primitive of this module on the CPU, for who walks through a jaxpr; None for any other."""
    made = _FUNCTIONS.get(primitive)
    return None if made is None else made(tuple(options.items()))


def platform_primitive(
    name: str, plain: Callable[..., Array], on_cpu: Callable[..., Array]
) -> tuple[Primitive, Callable[..., tuple[Array, int]]]:
    """A primitive without derivatives, which are for the caller to give.

    Arguments:
        name: as it is printed in a jaxpr.
        plain: `(*arrays, **options) -> array`; options are hashable. It defines shape and dtype, serves under
            `vmap`, and computes on every platform but the CPU.
        on_cpu: the same function, computed in another way.

    Returns:
        (the primitive, its rule under `vmap`, for a rule of the caller's to fall back on).
    """
    primitive = Primitive(f"{PREFIX}{name}")

    def abstract(*arrays: Any, **options: Any) -> Any:
        given = [jax.ShapeDtypeStruct(one.shape, one.dtype) for one in arrays]
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
