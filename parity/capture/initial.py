"""The values that a model has when it is built, before the comparison changes them."""

from typing import Any

import numpy as np
import torch


def torch_arrays(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """The state_dict of a PyTorch model in float32: copies of constants, which are perturbed, and views of the rest."""
    found = {}
    for name, tensor in model.state_dict().items():
        array = tensor.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()
        found[name] = array.copy() if array.size and array.min() == array.max() else array
    return found


def flax_arrays(model: Any, adapter: Any, inputs: list[np.ndarray], number: int) -> dict[str, np.ndarray]:
    """Parameters and state of a Flax model that was built again.

    Args:
        model: an NNX module, a Linen module or `(linen_module, variables)`.
        adapter: of the model that is compared, which initialises a Linen module without variables.
        inputs: for that.
        number: of the draw.
    """
    from flax import nnx

    from parity.capture.flax import precision
    from parity.capture.linen import flat_variables
    from parity.capture.nnx import NnxModel

    with precision("float32"):
        if isinstance(model, nnx.Module):
            drawn = NnxModel(model)
            return {**drawn.params, **drawn.state}
        return flat_variables(model[1] if isinstance(model, tuple) else adapter.initialised(inputs, number))
