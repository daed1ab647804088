"""Convolution as three bilinear JAX primitives; the other two are the transposes of each.

    convolution(x, kernel) -> y,      input_gradient(g, kernel) -> dL/dx,      kernel_gradient(g, x) -> dL/dkernel

With <a, b> the sum of products, all three belong to one trilinear form: <g, convolution(x, k)> =
<x, input_gradient(g, k)> = <k, kernel_gradient(g, x)>. The product rule gives the derivative of a bilinear primitive,
and the form gives its transposes. So `jvp`, `grad`, Hessian products and every higher derivative consist of the same
three primitives; `custom_vjp` would not allow forward mode. `flaxcnn.ops.cpu.choice` chooses the rule of each.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching
from jaxtyping import Array, Float

from flaxcnn.ops.cpu import choice, onednn, pointwise, winograd
from flaxcnn.ops.cpu.choice import Allowed, Case, Spatial, allowed_rules, rule_of
from flaxcnn.ops.cpu.patches import kernel_gradient_by_patches
from flaxcnn.ops.cpu.plain_convolution import plain_convolution, plain_input_gradient, plain_kernel_gradient
from flaxcnn.ops.cpu.primitive import is_divided, platform_primitive
from flaxcnn.ops.cpu.strided import input_gradient_by_phases


def convolution(
    x: Float[Array, "n h w ci"], kernel: Float[Array, "kh kw cig co"], spatial: Spatial, groups: int
) -> Float[Array, "n ho wo co"]:
    """The convolution of `conv2d` with the geometry `spatial`, computed by the rule that `choice` chooses."""
    if is_divided(x, kernel):
        return plain_convolution(x, kernel, spatial, groups)
    return _convolution.bind(x, kernel, spatial=spatial, groups=groups, allowed=allowed_rules())


# The function of each rule of `choice`, called as (array, array, geometry); rules in `GROUPED` also get the groups.
_CONVOLUTION = {
    "matmul": pointwise.convolution,
    "winograd": winograd.convolution,
    "onednn": onednn.convolution,
}
_INPUT_GRADIENT = {
    "matmul": pointwise.input_gradient,
    "phases": input_gradient_by_phases,
    "winograd": winograd.input_gradient,
    "onednn": onednn.input_gradient,
}
_KERNEL_GRADIENT = {
    "matmul": pointwise.kernel_gradient,
    "patches": kernel_gradient_by_patches,
    "winograd_kernel_gradient": winograd.kernel_gradient,
}


def _fast_convolution(x: Array, kernel: Array, spatial: Spatial, groups: int, allowed: Allowed) -> Array:
    case = Case(x.shape[0], kernel.shape[2:], spatial, groups, x.dtype)
    name = rule_of(case, choice.CONVOLUTION, allowed)
    return _computed(_CONVOLUTION.get(name, plain_convolution), name, (x, kernel), case, allowed)


def _fast_input_gradient(g: Array, kernel: Array, spatial: Spatial, groups: int, allowed: Allowed) -> Array:
    case = Case(g.shape[0], kernel.shape[2:], spatial, groups, g.dtype)
    name = rule_of(case, choice.INPUT_GRADIENT, allowed)
    return _computed(_INPUT_GRADIENT.get(name, plain_input_gradient), name, (g, kernel), case, allowed)


def _fast_kernel_gradient(g: Array, x: Array, spatial: Spatial, groups: int, allowed: Allowed) -> Array:
    case = Case(x.shape[0], (x.shape[3] // groups, g.shape[3]), spatial, groups, x.dtype)
    name = rule_of(case, choice.KERNEL_GRADIENT, allowed)
    return _computed(_KERNEL_GRADIENT.get(name, plain_kernel_gradient), name, (g, x), case, allowed)


def _computed(
    rule: Callable[..., Array], name: str, arrays: tuple[Array, Array], case: Case, allowed: Allowed
) -> Array:
    """Compute a case by a rule; inside it, the parts of the rule are allowed the rules for a case of this size."""
    with choice.allowing(allowed.for_parts_of(case)):
        if name in choice.GROUPED or name == choice.PLAIN:
            return rule(*arrays, case.spatial, case.groups)
        return rule(*arrays, case.spatial)


def _without_rules(function: Callable[..., Array]) -> Callable[..., Array]:
    """A plain rule with the signature of the fast ones."""

    def plain(a: Array, b: Array, spatial: Spatial, groups: int, allowed: Allowed) -> Array:
        del allowed
        return function(a, b, spatial, groups)

    return plain


def _primitive(name: str, plain: Callable[..., Array], fast: Callable[..., Array]) -> Primitive:
    primitive, batched = platform_primitive(name, _without_rules(plain), fast)

    def merged(arrays: tuple[Array, Array], axes: tuple[Any, Any], **options: Any) -> tuple[Array, int]:
        (a, b), (at, other) = arrays, axes
        if other is not None:
            return batched(arrays, axes, **options)
        # All examples have the same kernel, so their images form one batch.
        a = jnp.moveaxis(a, at, 0)
        y = primitive.bind(jnp.reshape(a, (-1, *a.shape[2:])), b, **options)
        return jnp.reshape(y, (*a.shape[:2], *y.shape[1:])), 0

    if name != "kernel_gradient":
        batching.primitive_batchers[primitive] = merged
    return primitive


_convolution = _primitive("convolution", plain_convolution, _fast_convolution)
_input_gradient = _primitive("input_gradient", plain_input_gradient, _fast_input_gradient)
_kernel_gradient = _primitive("kernel_gradient", plain_kernel_gradient, _fast_kernel_gradient)

# The cotangents of both arguments of a primitive follow from the trilinear form above.
ad.defbilinear(
    _convolution,
    lambda g, _, kernel, **options: _input_gradient.bind(g, kernel, **options),
    lambda g, x, _, **options: _kernel_gradient.bind(g, x, **options),
)
ad.defbilinear(
    _input_gradient,
    lambda x, _, kernel, **options: _convolution.bind(x, kernel, **options),
    lambda x, g, _, **options: _kernel_gradient.bind(g, x, **options),
)
ad.defbilinear(
    _kernel_gradient,
    lambda kernel, _, x, **options: _convolution.bind(x, kernel, **options),
    lambda kernel, g, _, **options: _input_gradient.bind(g, kernel, **options),
)
