"""Optimisers by name, with PyTorch's exact update rules, as optax transformations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import optax

from flaxcnn.errors import InvalidArgument
from flaxcnn.optim.clipping import clip_by_global_norm, clip_by_value
from flaxcnn.optim.groups import apart, scale_by_name
from flaxcnn.optim.rules import adam_direction, dampened_momentum, root_mean_square_direction
from flaxcnn.optim.validation import Number, require_known_options, require_number, unknown_name

LearningRate = Number | Callable

# The options of each optimiser besides those of all optimisers (weight decay, its mask, clipping, maximize).
_OPTIONS: dict[str, tuple[str, ...]] = {
    "sgd": ("momentum", "nesterov", "dampening"),
    "adam": ("betas", "eps", "amsgrad"),
    "adamw": ("betas", "eps", "amsgrad"),
    "rmsprop": ("momentum", "alpha", "eps", "centered"),
}
_DEFAULTS: dict[str, Any] = {
    "momentum": 0.0,
    "nesterov": False,
    "dampening": 0.0,
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "alpha": 0.99,
    "centered": False,
    "amsgrad": False,
}


def optimiser_names() -> list[str]:
    """The names that `optimiser` knows."""
    return list(_OPTIONS)


def optimiser_options(name: str) -> tuple[str, ...]:
    """The options that the optimiser `name` uses, besides weight decay, its mask, clipping and maximize.

    Raises:
        InvalidArgument: no optimiser has this name.
    """
    if name not in _OPTIONS:
        raise unknown_name("optimiser", name, _OPTIONS)
    return _OPTIONS[name]


def optimiser(
    name: str,
    learning_rate: LearningRate,
    *,
    momentum: Number = 0.0,
    nesterov: bool = False,
    dampening: Number = 0.0,
    weight_decay: Number = 0.0,
    betas: Sequence[Number] = (0.9, 0.999),
    eps: Number = 1e-8,
    alpha: Number = 0.99,
    centered: bool = False,
    amsgrad: bool = False,
    maximize: bool = False,
    decay_mask: Any = None,
    clip_norm: Number | None = None,
    clip_value: Number | None = None,
    factors: Mapping[str, float] | None = None,
    groups: Mapping[str, str] | None = None,
) -> optax.GradientTransformation:
    """An optimiser with PyTorch's update rule.

    Update t = 0, 1, ... of parameters p with gradients g (pytrees of one structure), r = weight_decay:

    1. g is clipped by value, then by global norm (`clip_value`, `clip_norm`); if `maximize`, g <- -g.
    2. sgd, adam, rmsprop: g <- g + r p (coupled decay, before any momentum).
    3. d is the rule's direction. sgd: g, or with momentum v = momentum v + (1 - dampening) g, first v = g, or
       with Nesterov g + momentum v. adam, adamw, rmsprop: see `flaxcnn.optim.rules`; the momentum of rmsprop
       is v = momentum v + d, first v = d.
    4. p <- p - lr(t) d;  adamw: p <- p - lr(t) r p - lr(t) d (decoupled decay).

    The defaults are PyTorch's, except for weight_decay: here it is 0, in torch.optim.AdamW 1e-2.

    Args:
        name: sgd, adam, adamw or rmsprop.
        learning_rate: a number, or a function from the update's number (from 0), as `schedule` returns.
        momentum: sgd and rmsprop.
        nesterov: sgd, with momentum and without dampening.
        dampening: sgd; the share of the gradient kept out of the momentum from the second update on.
        weight_decay: r above.
        betas: adam and adamw; the decay of the mean and of the mean square.
        eps: adam, adamw and rmsprop; added outside the root.
        alpha: rmsprop; the decay of the mean square.
        centered: rmsprop; divide by the standard deviation instead.
        amsgrad: adam and adamw; divide by the largest mean square so far.
        maximize: maximise the loss instead (the weight decay still shrinks the parameters).
        decay_mask: selects the decayed parameters: a pytree of bools like the parameters, or a function from
            the parameters to such a pytree (such as `no_decay_on_norm_and_bias`). By default all, as in PyTorch.
        clip_norm: the largest global norm of the gradients.
        clip_value: the largest magnitude of a gradient's element.
        factors: of parameters in a flat dictionary, the learning rate divided by `learning_rate`, by name.
        groups: of parameters in a flat dictionary, a label by name; each group counts its own updates, see `apart`.

    Raises:
        InvalidArgument: an unknown name, a number out of its range, an option that the optimiser does not use, or
            (when the optimiser is initialised) a mask of another structure than the parameters.

    Reference: https://docs.pytorch.org/docs/stable/optim.html
    """
    used = optimiser_options(name)
    options = {
        "momentum": momentum,
        "nesterov": nesterov,
        "dampening": dampening,
        "betas": tuple(betas),
        "eps": eps,
        "alpha": alpha,
        "centered": centered,
        "amsgrad": amsgrad,
    }
    changed = {option: value for option, value in options.items() if value != _DEFAULTS[option]}
    require_known_options("optimiser", name, changed, used)
    if not callable(learning_rate):
        require_number("learning_rate", learning_rate, 0)
    require_number("weight_decay", weight_decay, 0)
    _require_ranges(options)

    steps = _clipping(clip_norm, clip_value)
    if maximize:
        steps.append(optax.scale(-1.0))
    decay = [] if weight_decay == 0 else [optax.add_decayed_weights(weight_decay, _checked_mask(decay_mask))]
    direction = _direction(name, options)
    if groups is not None and direction:
        direction = [apart(optax.chain(*direction), groups)]
    steps += [*direction, *decay] if name == "adamw" else [*decay, *direction]
    if factors is not None:
        steps.append(scale_by_name(factors))
    return optax.chain(*steps, optax.scale_by_learning_rate(learning_rate))


def no_decay_on_norm_and_bias(params: Any) -> Any:
    """The decay mask that leaves out biases and the scales of normalisations: arrays of 0 or 1 dimension.

    Args:
        params: a pytree of arrays.

    Returns:
        a pytree of bools of the same structure, True where the parameter is decayed.

    Reference: He et al. 2019, "Bag of tricks for image classification with CNNs", section 3.1.
    """
    return jax.tree.map(lambda p: p.ndim > 1, params)


def _require_ranges(options: Mapping[str, Any]) -> None:
    require_number("momentum", options["momentum"], 0)
    require_number("dampening", options["dampening"], 0, 1)
    require_number("eps", options["eps"], 0)
    require_number("alpha", options["alpha"], 0, 1, below_high=True)
    if len(options["betas"]) != 2:
        raise InvalidArgument(f"betas is {options['betas']!r}, but it must hold two numbers in [0, 1).")
    for beta in options["betas"]:
        require_number("each of betas", beta, 0, 1, below_high=True)
    if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
        raise InvalidArgument(
            f"nesterov needs a momentum above 0 and no dampening, but momentum is {options['momentum']!r} "
            f"and dampening is {options['dampening']!r}."
        )


def _clipping(clip_norm: Number | None, clip_value: Number | None) -> list[optax.GradientTransformation]:
    by_value = [] if clip_value is None else [clip_by_value(clip_value)]
    by_norm = [] if clip_norm is None else [clip_by_global_norm(clip_norm)]
    return by_value + by_norm


def _direction(name: str, options: Mapping[str, Any]) -> list[optax.GradientTransformation]:
    momentum = options["momentum"]
    if name == "sgd":
        if momentum == 0:
            return []
        if options["dampening"] == 0:
            return [optax.trace(momentum, nesterov=options["nesterov"])]
        return [dampened_momentum(momentum, options["dampening"])]
    if name == "rmsprop":
        scaled = root_mean_square_direction(options["alpha"], options["eps"], centered=options["centered"])
        return [scaled] if momentum == 0 else [scaled, optax.trace(momentum)]
    beta_mean, beta_square = options["betas"]
    return [adam_direction(beta_mean, beta_square, options["eps"], amsgrad=options["amsgrad"])]


def _checked_mask(decay_mask: Any) -> Callable | None:
    """The mask as a function of the parameters; it raises on a pytree that does not fit them."""
    if decay_mask is None:
        return None

    def mask(params: Any) -> Any:
        tree = decay_mask(params) if callable(decay_mask) else decay_mask
        if jax.tree.structure(tree) != jax.tree.structure(params):
            different = _names(tree) ^ _names(params)
            example = f" (for example {min(different)} is only in one of them)" if different else ""
            raise InvalidArgument(f"decay_mask must hold one bool for every parameter{example}.")
        wrong = [leaf for leaf in jax.tree.leaves(tree) if not isinstance(leaf, bool)]
        if wrong:
            raise InvalidArgument(f"decay_mask must hold bools only, but it holds {wrong[0]!r}.")
        return tree

    return mask


def _names(tree: Any) -> set[str]:
    return {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)}
