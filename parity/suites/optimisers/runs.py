"""The steps of a case of the suite `optimisers`, by PyTorch and by `flaxcnn.optim`, with all internal state.

The tensors of each step have PyTorch's names (`exp_avg of fc.weight`), in the order of their computation: clipped
gradients, internal state, parameters.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from flaxcnn import optim
from flaxcnn.optim.masking import masked as masked_gradient
from flaxcnn.optim.rules import AdamState, MomentumState, RootMeanSquareState
from parity.capture.flax import precision
from parity.suites.options import Options
from parity.suites.stepwise import Recording, unstacked

Arrays = dict[str, np.ndarray]
STEPS = 200
SHAPES: dict[str, tuple[int, ...]] = {
    "conv.weight": (3, 2, 3, 3),
    "conv.bias": (3,),
    "temperature": (),
    "fc.weight": (4, 5),
}
TORCH = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}
# The internal state of torch.optim, in the order in which a step computes it.
_STATE = ("step", "grad_avg", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "momentum_buffer")
# Options of the suite, which are not arguments of the optimiser.
_SUITE_OPTIONS = (
    "optimiser",
    "gradients",
    "decay_mask",
    "clip_norm",
    "clip_value",
    "learning_rate",
    "factors",
    "keep_zeros",
)


def initial_parameters(generator: np.random.Generator) -> Arrays:
    """Parameters in float32: both precisions start from the same numbers."""
    return {name: _normal(generator, shape) for name, shape in SHAPES.items()}


def pruned(parameters: Arrays) -> Arrays:
    """The parameters with zeros in place of the small weights of the kernels."""
    return {
        name: np.where(np.abs(array) < 0.6, np.float32(0), array) if array.ndim > 1 else array
        for name, array in parameters.items()
    }


def gradients_of(kind: str, generator: np.random.Generator, steps: int = STEPS) -> Arrays:
    """`steps` gradients of each parameter, `[steps, ...]` in float32.

    Args:
        kind: "normal"; "sparse", nine in ten elements zero, and everything zero at steps 0 and 50 to 69;
            "spiked", every 20th step 1000 times as large; "tiny", 1e-7 times as large; "drifting", with a mean
            that grows from step to step.
        generator: of the numbers.
        steps: how many.
    """
    gradients = {}
    for name, shape in SHAPES.items():
        values = _normal(generator, (steps, *shape))
        number = np.arange(steps).reshape((steps,) + (1,) * len(shape))
        if kind == "sparse":
            still = (number == 0) | ((number >= 50) & (number < 70))
            values = np.where((generator.random(values.shape) < 0.9) | still, 0.0, values)
        elif kind == "spiked":
            values = np.where(number % 20 == 7, 1e3, 1.0) * values
        elif kind == "tiny":
            values = 1e-7 * values
        elif kind == "drifting":
            values = values + number / steps
        gradients[name] = np.asarray(values, np.float32)
    return gradients


def is_decayed(shape: tuple[int, ...]) -> bool:
    """Whether a decay mask keeps the decay of a parameter of this shape."""
    return len(shape) > 1


def torch_run(options: Options, parameters: Arrays, gradients: Arrays, dtype: str) -> Recording:
    """The steps of `torch.optim`, as a user of PyTorch takes them."""
    tensors = {name: torch.tensor(a.astype(dtype), requires_grad=True) for name, a in parameters.items()}
    moves = {name: torch.tensor(a.astype(dtype)) for name, a in gradients.items()}
    own = {name: value for name, value in options.items() if name not in _SUITE_OPTIONS}
    decay = own.pop("weight_decay", 0.0)
    masked, rate = options.get("decay_mask", False), options["learning_rate"]
    groups = [
        {
            "params": [t],
            "weight_decay": decay if not masked or is_decayed(t.shape) else 0.0,
            "lr": rate * options.get("factors", {}).get(name, 1.0),
        }
        for name, t in tensors.items()
    ]
    optimiser = TORCH[options["optimiser"]](groups, lr=rate, **own)
    # As `torch.nn.utils.prune` does: a weight that is gone has no gradient.
    masks = {name: a != 0 for name, a in parameters.items() if a.ndim > 1 and options.get("keep_zeros")}
    recording = []
    for step in range(len(next(iter(gradients.values())))):
        for name, tensor in tensors.items():
            tensor.grad = moves[name][step] * torch.tensor(masks.get(name, True))
        tensors_of_step = _clip(options, tensors)
        optimiser.step()
        for kind in _STATE:
            for name, tensor in tensors.items():
                value = optimiser.state[tensor].get(kind)
                # RMSprop counts its steps and never uses the number.
                if value is not None and not (kind == "step" and options["optimiser"] == "rmsprop"):
                    tensors_of_step[f"{kind} of {name}"] = value
        tensors_of_step |= tensors
        recording.append({name: value.detach().numpy().copy() for name, value in tensors_of_step.items()})
    return recording


def _clip(options: Options, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Clip the gradients in place; return the norm and the clipped gradients, as far as the options clip."""
    recorded = {}
    if options.get("clip_value"):
        torch.nn.utils.clip_grad_value_(tensors.values(), options["clip_value"])
    if options.get("clip_norm"):
        recorded["norm"] = torch.nn.utils.clip_grad_norm_(tensors.values(), options["clip_norm"])
    if options.get("clip_value") or options.get("clip_norm"):
        recorded |= {f"clipped gradient of {name}": t.grad for name, t in tensors.items()}
    return recorded


def flax_run(options: Options, parameters: Arrays, gradients: Arrays, dtype: str) -> Recording:
    """The steps of `flaxcnn.optim.optimiser`, all in one compiled loop."""
    own = {name: value for name, value in options.items() if name not in ("optimiser", "gradients")}
    masked = own.pop("decay_mask", False)
    rate, keep = own.pop("learning_rate"), own.pop("keep_zeros", False)
    mask: Any = {name: is_decayed(a.shape) for name, a in parameters.items()} if masked else None
    mask = optim.no_decay_on_norm_and_bias if masked == "by a function" else mask
    with precision(dtype):
        transformation = optim.optimiser(options["optimiser"], rate, decay_mask=mask, **own)
        transformation = optim.keeping_zeros(transformation) if keep else transformation

        def update(carry: Any, gradient: dict[str, jax.Array]) -> Any:
            params, state = carry
            shown = masked_gradient(gradient, state.masks) if keep else gradient
            updates, state = transformation.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            tensors = (
                _flax_clipping(options, shown) | _internal(state.inner if keep else state, params) | params
            )
            return (params, state), tensors

        @jax.jit
        def run(params: dict[str, jax.Array], gradients: dict[str, jax.Array]) -> dict[str, jax.Array]:
            return jax.lax.scan(update, (params, transformation.init(params)), gradients)[1]

        start, moves = (
            {name: jnp.asarray(a.astype(dtype)) for name, a in arrays.items()}
            for arrays in (parameters, gradients)
        )
        return unstacked(run(start, moves))


def _flax_clipping(options: Options, gradient: dict[str, jax.Array]) -> dict[str, jax.Array]:
    recorded, clipped = {}, gradient
    if options.get("clip_value"):
        clipped, _ = optim.clip_by_value(options["clip_value"]).update(clipped, optax.EmptyState())
    if options.get("clip_norm"):
        recorded["norm"] = optim.global_norm(clipped)
        clipped, _ = optim.clip_by_global_norm(options["clip_norm"]).update(clipped, optax.EmptyState())
    if options.get("clip_value") or options.get("clip_norm"):
        recorded |= {f"clipped gradient of {name}": g for name, g in clipped.items()}
    return recorded


def _internal(state: Any, params: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The state of an optax chain, under PyTorch's names."""
    trees: dict[str, Any] = {}
    for part in state:
        if isinstance(part, AdamState):
            trees["step"] = dict.fromkeys(params, part.count.astype(float))
            trees["exp_avg"], trees["exp_avg_sq"] = part.mean, part.square
            trees["max_exp_avg_sq"] = part.largest_square
        elif isinstance(part, RootMeanSquareState):
            trees["square_avg"], trees["grad_avg"] = part.square, part.mean
        elif isinstance(part, MomentumState):
            trees["momentum_buffer"] = part.buffer
        elif isinstance(part, optax.TraceState):
            trees["momentum_buffer"] = part.trace
    return {
        f"{kind} of {name}": array
        for kind, tree in trees.items()
        if tree is not None
        for name, array in tree.items()
    }


def _normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(generator.standard_normal(shape), np.float32)
