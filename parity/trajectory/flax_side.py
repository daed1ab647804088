"""The Flax side: the model as a pure function, its loss and an optax transformation, in one precision."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from parity.capture.flax import FlaxModel, precision
from parity.capture.intercept import Interceptor, is_array, is_floating
from parity.capture.trees import list_tensors
from parity.trajectory.torch_side import Gradients
from parity.trajectory.widening import WideUpdate, wide_update

FlaxLoss = Callable[[jax.Array, jax.Array], jax.Array]
Arrays = dict[str, np.ndarray]


class FlaxRun:
    """Two compiled functions, the gradient and the update. All state of a training is passed in.

    In float64 the update is computed in float64 throughout, see `parity.trajectory.widening`; `wide` tells what was
    lifted, once `init` has been called.
    """

    def __init__(
        self,
        model: FlaxModel,
        trained: tuple[str, ...],
        dtype: str,
        optimiser: optax.GradientTransformation,
        loss: FlaxLoss,
    ) -> None:
        """Prepare the functions; they are compiled at their first call.

        Args:
            model: the adapter.
            trained: Flax names of the parameters that are trained.
            dtype: "float32" or "float64".
            optimiser: makes updates of a dictionary of parameters by Flax name.
            loss: mean loss of the model's first output and the targets.
        """
        self.model, self.trained, self.dtype = model, frozenset(trained), dtype
        self.optimiser, self.loss = optimiser, loss
        self._gradients = jax.jit(self._pure_gradients)
        self._update = jax.jit(self._pure_update)
        self.wide: WideUpdate | None = None

    def gradients(
        self, params: Arrays, state: Arrays, x: np.ndarray, y: np.ndarray, masks: Arrays
    ) -> Gradients:
        """Loss, gradients and new state of one step, from these parameters and this state."""
        with precision(self.dtype):
            trained = {name: self._cast(a) for name, a in params.items() if name in self.trained}
            fixed = {name: self._cast(a) for name, a in params.items() if name not in self.trained}
            casted = {name: self._cast(a) for name, a in state.items()}
            given = {name: self._cast(a) for name, a in masks.items()}
            value, gradients, after = self._gradients(
                trained, fixed, casted, self._cast(x), self._cast(y), given
            )
            return Gradients(float(value), _numpy(gradients), _numpy(after))

    def init(self, params: Arrays) -> Any:
        """The optimiser's state before the first update."""
        with precision(self.dtype):
            trained = {name: self._cast(a) for name, a in params.items() if name in self.trained}
            if self.dtype == "float32":
                return self.optimiser.init(trained)
            if self.wide is None:
                self.wide = wide_update(self._pure_update, self.optimiser.init(trained), trained)
                self._update = jax.jit(self.wide.update)
            return self.wide.state

    def update(self, gradients: Arrays, optimiser_state: Any, params: Arrays) -> tuple[Arrays, Any]:
        """The trained parameters after one update, and the optimiser's state after it."""
        with precision(self.dtype):
            trained = {name: self._cast(a) for name, a in params.items() if name in self.trained}
            casted = {name: self._cast(gradients[name]) for name in trained}
            after, optimiser_state = self._update(casted, optimiser_state, trained)
            return _numpy(after), optimiser_state

    def _pure_gradients(self, trained: Any, fixed: Any, state: Any, x: Any, y: Any, masks: Any) -> Any:
        def objective(trained: Any) -> tuple[jax.Array, Any]:
            output, after = self.model.run(
                {**trained, **fixed},
                state,
                [x],
                mode="train",
                seed=0,
                interceptor=Interceptor(dropout_masks=masks),
            )
            logits = next(a for _, a in list_tensors(output, is_array))
            return self.loss(logits, y), after

        (value, after), gradients = jax.value_and_grad(objective, has_aux=True)(trained)
        return value, gradients, after

    def _pure_update(self, gradients: Any, optimiser_state: Any, trained: Any) -> Any:
        updates, optimiser_state = self.optimiser.update(gradients, optimiser_state, trained)
        return optax.apply_updates(trained, updates), optimiser_state

    def _cast(self, array: np.ndarray) -> jax.Array:
        array = np.asarray(array)
        if is_floating(array):
            # A run that overflows is reported by its step, not by a warning of NumPy's.
            with np.errstate(over="ignore"):
                return jnp.asarray(array.astype(self.dtype))
        return jnp.asarray(array.astype(np.int32) if array.dtype == np.int64 else array)


def cross_entropy(label_smoothing: float) -> FlaxLoss:
    """The mean cross-entropy of logits [n, k] and labels [n] or probabilities [n, k]."""
    from flaxcnn import ops

    def loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
        return ops.cross_entropy(logits, targets, label_smoothing=label_smoothing)

    return loss


def _numpy(arrays: dict[str, Any]) -> Arrays:
    return {name: np.asarray(a) for name, a in arrays.items()}
