"""The channels of a network that can be removed, and what must go with each.

A *unit* is a set of indices that are removed together: a channel of a convolution, its batch norm, and the channel of
every kernel that reads it; for the stream of a residual stage, all of its blocks. Units of the same axes are a *group*.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from flaxcnn import ops
from flaxcnn.compress.rules import RULES
from flaxcnn.compress.ties import FIXED, Labels, Product, Value, Walk, fixed_shape
from flaxcnn.errors import InvalidArgument
from flaxcnn.functional import Functional

Site = tuple[str, int]


@dataclasses.dataclass(frozen=True)
class Group:
    """Units that have their indices in the same axes of the same parameters.

    Attributes:
        name: of the layer that makes the channels (the first, where several are added).
        units: their numbers, in the order of the channels.
        sites: name and axis of each array that loses indices with them.
    """

    name: str
    units: tuple[int, ...]
    sites: tuple[Site, ...]


@dataclasses.dataclass(frozen=True)
class Structure:
    """What can be removed from a network.

    Attributes:
        shapes: of every parameter and statistic.
        units: for each axis of an array, the unit of every index; -1 where it stays.
        groups: of units.
        products: the convolutions and dense layers, in the order in which they run.
    """

    shapes: dict[str, tuple[int, ...]]
    units: dict[Site, Labels]
    groups: tuple[Group, ...]
    products: tuple[Product, ...]

    def kept(self, removed: Iterable[int]) -> dict[Site, Labels]:
        """The indices that stay, for each axis that loses some."""
        gone = np.asarray(sorted(removed), int)
        kept = {site: np.flatnonzero(~np.isin(units, gone)) for site, units in self.units.items()}
        return {site: left for site, left in kept.items() if len(left) < len(self.units[site])}

    def sizes(self, removed: Iterable[int]) -> dict[str, tuple[int, ...]]:
        """The shapes that are left."""
        sizes = {name: list(shape) for name, shape in self.shapes.items()}
        for (name, axis), left in self.kept(removed).items():
            sizes[name][axis] = len(left)
        return {name: tuple(shape) for name, shape in sizes.items()}

    def groups_of(self, removed: Iterable[int]) -> dict[str, int]:
        """The groups that are left of each grouped convolution, by the name of the convolution."""
        sizes = self.sizes(removed)
        return {
            product.kernel.rpartition(".")[0]: product.groups
            * sizes[product.kernel][-1]
            // self.shapes[product.kernel][-1]
            for product in self.products
            if product.groups > 1
        }

    def flops(self, removed: Iterable[int] = ()) -> int:
        """Multiplications and additions of the convolutions and dense layers for one image."""
        sizes = self.sizes(removed)
        return sum(2 * product.positions * int(np.prod(sizes[product.kernel])) for product in self.products)


def structure(parts: Functional, image_shape: tuple[int, int, int]) -> Structure:
    """Find what can be removed from a network, from its equations on abstract images.

    Args:
        parts: the network; only the shapes of its arrays are used.
        image_shape: (height, width, channels) of its images.

    Raises:
        InvalidArgument: it has nothing that can be removed.
    """
    arrays = parts.params | parts.state
    walk, sites = Walk(RULES), {}
    values = {}
    for name, array in arrays.items():
        axes = tuple(walk.fresh(size) for size in array.shape)
        sites |= {(name, axis): labels for axis, labels in enumerate(axes)}
        values[name] = Value(axes, name)
    _trace(walk, parts, image_shape, values)
    units = _units(walk, sites, parts.params)
    if not any((numbers >= 0).any() for numbers in units.values()):
        raise InvalidArgument(
            "The network has no channels that can be removed: its layers are tied to constants."
        )
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    return Structure(shapes, units, _groups(units), tuple(walk.products))


def _trace(
    walk: Walk, parts: Functional, image_shape: tuple[int, int, int], values: Mapping[str, Value]
) -> None:
    """Walk through the equations of the network in evaluation, as the plain rules compute it."""
    arrays = parts.params | parts.state
    abstract = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in arrays.items()}
    dtype = jnp.result_type(*(array.dtype for array in parts.params.values()))
    images = jax.ShapeDtypeStruct((2, *image_shape), dtype)

    def logits(both: Mapping[str, jax.Array], x: jax.Array) -> jax.Array:
        params = {name: both[name] for name in parts.params}
        state = {name: both[name] for name in parts.state}
        return parts.apply(params, state, x, train=False)[0]

    with ops.fast_rules():
        closed = jax.make_jaxpr(logits)(abstract, images)
    # A dictionary is flattened in the order of its names.
    arguments = [*(values[name] for name in sorted(values)), fixed_shape(images.shape)]
    for value in walk.run(closed.jaxpr, closed.consts, [_no_ones(item) for item in arguments]):
        for labels in value.axes:
            walk.fix(labels)


def _no_ones(value: Value) -> Value:
    """A parameter as an operand: an axis of one index cannot lose it."""
    return Value(
        tuple(None if labels is None or len(labels) == 1 else labels for labels in value.axes), value.name
    )


def _units(walk: Walk, sites: Mapping[Site, Labels], params: Mapping[str, jax.Array]) -> dict[Site, Labels]:
    """Number the components that some kernel makes and some kernel reads, in the order of the arrays."""
    components = walk.components()
    kernels = {name for name, array in params.items() if array.ndim > 1}
    ranks = {name: params[name].ndim for name in kernels}
    made, read = set(), set()
    for (name, axis), labels in sites.items():
        if name in kernels and axis == ranks[name] - 1:
            made.update(components[labels].tolist())
        if name in kernels and axis == ranks[name] - 2:
            read.update(components[labels].tolist())
    removable = sorted((made & read) - {int(components[FIXED])})
    number = np.full(components.max() + 1, -1)
    number[removable] = np.arange(len(removable))
    found = {site: number[components[labels]] for site, labels in sites.items()}
    return {site: units for site, units in found.items() if (units >= 0).any()}


def _groups(units: Mapping[Site, Int[np.ndarray, "_"]]) -> tuple[Group, ...]:
    of: dict[int, list[Site]] = {}
    for site, numbers in units.items():
        for unit in np.unique(numbers[numbers >= 0]):
            of.setdefault(int(unit), []).append(site)
    together: dict[tuple[Site, ...], list[int]] = {}
    for unit, where in sorted(of.items()):
        together.setdefault(tuple(where), []).append(unit)
    return tuple(Group(_name(sites), tuple(numbers), sites) for sites, numbers in together.items())


def _name(sites: tuple[Site, ...]) -> str:
    """The layer whose kernel makes the channels."""
    names = [name for name, axis in sites if name.endswith("weight") and axis in (1, 3)]
    return (names or [sites[0][0]])[0].rpartition(".")[0]
