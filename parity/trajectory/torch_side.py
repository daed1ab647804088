"""The PyTorch side: a model, its optimiser and schedule, in one precision, one step at a time."""

import copy
import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch

from parity.capture.torch import DTYPES
from parity.errors import CannotCompare
from parity.trajectory.masks import Masks, masked

# Parameters of the model -> optimiser, or (optimiser, scheduler).
TorchOptimiser = Callable[[list[torch.nn.Parameter]], Any]
TorchLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Gradients:
    """The results of the forward and backward pass of one step: arrays by name, in the framework's own layout."""

    loss: float
    gradients: dict[str, np.ndarray]
    state: dict[str, np.ndarray]

    @property
    def norm(self) -> float:
        """The Euclidean norm of all gradients together."""
        return float(
            np.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in self.gradients.values()))
        )


class TorchRun:
    """A copy of the user's model under training."""

    def __init__(
        self,
        model: torch.nn.Module,
        dtype: str,
        optimiser: TorchOptimiser,
        loss: TorchLoss,
        clip_norm: float | None,
        drawing: Collection[str] = (),
    ) -> None:
        """Copy the model into `dtype` and build its optimiser; `drawing` are the paths of the calls that draw.

        Raises:
            CannotCompare: the optimiser's factory returns no optimiser.
        """
        self.dtype = dtype
        self.model = copy.deepcopy(model).to(DTYPES[dtype]).train()
        self.trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.loss, self.clip_norm, self.drawing = loss, clip_norm, drawing
        self.optimiser, self.scheduler = _built(optimiser, list(self.trained.values()))

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update, of the first parameter group."""
        return float(self.optimiser.param_groups[0]["lr"])

    @property
    def options(self) -> dict[str, float]:
        """What a scheduler may change besides the rate, of the first parameter group, by its name in `UpdateRule`."""
        group = self.optimiser.param_groups[0]
        options = {"momentum": group.get("momentum"), "decay": group.get("weight_decay")}
        options |= dict(zip(("beta_mean", "beta_square"), group.get("betas", ()), strict=False))
        return {name: float(value) for name, value in options.items() if value is not None}

    def params(self) -> dict[str, np.ndarray]:
        """The trained parameters by name, copied."""
        return {name: p.detach().numpy().copy() for name, p in self.trained.items()}

    def state(self) -> dict[str, np.ndarray]:
        """Everything else of the state_dict: buffers and frozen parameters, copied."""
        everything = self.model.state_dict()
        return {name: t.detach().numpy().copy() for name, t in everything.items() if name not in self.trained}

    def put(self, arrays: dict[str, np.ndarray]) -> None:
        """Overwrite parameters and buffers with arrays, cast to this run's precision."""
        with torch.no_grad():
            everything = self.model.state_dict()
            for name, array in arrays.items():
                everything[name].copy_(torch.from_numpy(np.asarray(array)))

    def gradients(self, x: np.ndarray, y: np.ndarray, masks: Masks) -> Gradients:
        """Run the model forward and backward on a batch; this updates the running statistics, but no parameter."""
        self.model.zero_grad(set_to_none=True)
        with masked(self.model, self.drawing, masks):
            output = self.model(_tensor(x, self.dtype))
        value = self.loss(output, _tensor(y, self.dtype))
        value.backward()
        gradients = {
            name: np.zeros(tuple(p.shape), self.dtype) if p.grad is None else p.grad.detach().numpy().copy()
            for name, p in self.trained.items()
        }
        return Gradients(float(value.detach()), gradients, self.state())

    def update(self, gradients: dict[str, np.ndarray]) -> None:
        """Clip the gradients, and make a step with optimiser and scheduler."""
        for name, parameter in self.trained.items():
            with np.errstate(over="ignore"):
                parameter.grad = torch.from_numpy(gradients[name].astype(self.dtype))
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.trained.values(), self.clip_norm)
        self.optimiser.step()
        if self.scheduler is not None:
            self.scheduler.step()


def cross_entropy(label_smoothing: float) -> TorchLoss:
    """The mean cross-entropy of logits [n, k] and labels [n] or probabilities [n, k]."""

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)

    return loss


def _tensor(array: np.ndarray, dtype: str) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(array))
    return tensor.to(DTYPES[dtype]) if tensor.is_floating_point() else tensor.long()


def _built(factory: TorchOptimiser, parameters: list[torch.nn.Parameter]) -> tuple[Any, Any]:
    built = factory(parameters)
    optimiser, scheduler = built if isinstance(built, tuple) and len(built) == 2 else (built, None)
    if not isinstance(optimiser, torch.optim.Optimizer):
        raise CannotCompare(
            f"PyTorch's optimiser factory returns a {type(optimiser).__name__}; it must take the list of parameters "
            "and return a torch.optim.Optimizer, or (optimizer, scheduler)."
        )
    return optimiser, scheduler
