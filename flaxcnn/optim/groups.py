"""Parameters that an optimiser treats apart, as PyTorch's parameter groups: by rate, and by when they join."""

from collections.abc import Mapping
from typing import Any

import jax
import optax

from flaxcnn.errors import InvalidArgument


def scale_by_name(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiply the update of each parameter of a flat dictionary by a number of its own; by 1 where none is named.

    A parameter whose learning rate is `r` where the schedule's peak is `p` has the factor `r / p`: every schedule is
    its peak times a shape, as it is for the groups of `torch.optim` under one scheduler.
    """

    def update(updates: Any, _: Any) -> Any:
        return {name: value * factors.get(name, 1.0) for name, value in updates.items()}

    return optax.stateless(update)


def apart(
    transformation: optax.GradientTransformation, groups: Mapping[str, str]
) -> optax.GradientTransformation:
    """The transformation for each group of a flat dictionary by itself, so that each counts its own updates.

    A group that joins later starts from a state of its own while the others go on, as after
    `torch.optim.Optimizer.add_param_group`. The state is a dictionary by group.

    Args:
        transformation: elementwise, such as the direction of Adam.
        groups: the group of each parameter.
    """

    def parted(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        parts: dict[str, dict[str, Any]] = {}
        for name, value in arrays.items():
            parts.setdefault(groups[name], {})[name] = value
        return parts

    def init(params: Any) -> dict[str, Any]:
        return {group: transformation.init(part) for group, part in parted(params).items()}

    def update(updates: Any, state: dict[str, Any], params: Any = None) -> tuple[Any, dict[str, Any]]:
        of_params = {} if params is None else parted(params)
        found, after = {}, {}
        for group, part in parted(updates).items():
            moved, after[group] = transformation.update(part, state[group], of_params.get(group))
            found |= moved
        return {name: found[name] for name in updates}, after

    return optax.GradientTransformation(init, update)


def joined(before: Any, fresh: Any) -> Any:
    """The state of an optimiser that got more parameters: what it knew of the old ones, and `fresh` of the new.

    Args:
        before: its state with fewer parameters.
        fresh: its initial state with all of them.

    Raises:
        InvalidArgument: `before` holds what `fresh` does not.
    """
    old, new = _leaves(before), _leaves(fresh)
    if lost := old.keys() - new.keys():
        raise InvalidArgument(f"The state of the optimiser has no place for {min(lost)}.")
    return jax.tree.unflatten(jax.tree.structure(fresh), [old.get(name, leaf) for name, leaf in new.items()])


def _leaves(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
