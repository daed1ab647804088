"""Optimisers, learning-rate schedules and gradient clipping with PyTorch's exact rules, through optax."""

from flaxcnn.optim.clipping import clip_by_global_norm, clip_by_value, global_norm
from flaxcnn.optim.groups import joined
from flaxcnn.optim.masking import keeping_zeros
from flaxcnn.optim.optimisers import (
    no_decay_on_norm_and_bias,
    optimiser,
    optimiser_names,
    optimiser_options,
)
from flaxcnn.optim.schedules import (
    Schedule,
    schedule,
    schedule_names,
    schedule_options,
    stepped_every,
    with_warm_up,
)

__all__ = [
    "Schedule",
    "clip_by_global_norm",
    "clip_by_value",
    "global_norm",
    "joined",
    "keeping_zeros",
    "no_decay_on_norm_and_bias",
    "optimiser",
    "optimiser_names",
    "optimiser_options",
    "schedule",
    "schedule_names",
    "schedule_options",
    "stepped_every",
    "with_warm_up",
]
