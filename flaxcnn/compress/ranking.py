"""How important each unit is: the score by which channels are chosen.

The score of a unit is its part of the parameters in the axes of its group, divided by the mean over the group, so that
groups of large and of small layers can be compared.

    l1      sum |w|                         over the kernels
    l2      sqrt(sum w^2)                   over the kernels
    scale   sum |gamma|                     over the batch norms
    taylor  sum |w dL/dw|                   over all parameters: the loss that their removal costs, to first order

References: Li et al. 2017, "Pruning Filters for Efficient ConvNets" (l1); Liu et al. 2017, "Learning Efficient
Convolutional Networks through Network Slimming" (scale); Molchanov et al. 2019, "Importance Estimation for Neural
Network Pruning" (taylor).
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Array, Float, Float64

from flaxcnn.compress.groups import Structure
from flaxcnn.errors import InvalidArgument, hint

CRITERIA = ("l1", "l2", "scale", "taylor")


def scores(
    structure: Structure,
    params: Mapping[str, Float[Array, "..."]],
    criterion: str = "l1",
    *,
    products: Mapping[str, Float[Array, "..."]] | None = None,
) -> Float64[np.ndarray, " units"]:
    """The score of every unit.

    Args:
        structure: of the network.
        params: its parameters.
        criterion: one of `CRITERIA`.
        products: |w dL/dw| of every parameter, which `taylor` needs.

    Raises:
        InvalidArgument: the criterion is unknown, or the network has nothing that it is measured on.
    """
    if criterion not in CRITERIA:
        raise InvalidArgument(f"There is no criterion {criterion!r}: {hint(criterion, CRITERIA)}")
    if criterion == "taylor" and products is None:
        raise InvalidArgument("The criterion taylor needs the products |w dL/dw|; give them, or choose l1.")
    values = params if products is None else products
    totals = np.zeros(sum(len(group.units) for group in structure.groups))
    for (name, axis), units in structure.units.items():
        if name not in params or not _counts(criterion, name, np.ndim(params[name])):
            continue
        array = np.abs(np.asarray(values[name], np.float64))
        others = tuple(other for other in range(array.ndim) if other != axis)
        part = (array**2 if criterion == "l2" else array).sum(axis=others)
        np.add.at(totals, units[units >= 0], part[units >= 0])
    result = np.sqrt(totals) if criterion == "l2" else totals
    for group in structure.groups:
        units = np.asarray(group.units)
        mean = result[units].mean()
        # A group without batch norms, or of zeros only: its channels are all alike.
        result[units] = result[units] / mean if mean > 0 else 1.0
    return result


def _counts(criterion: str, name: str, rank: int) -> bool:
    """Whether a parameter counts; the weight with one axis is the scale of a batch norm."""
    if criterion == "taylor":
        return True
    return rank == 1 and name.endswith("weight") if criterion == "scale" else rank > 1
