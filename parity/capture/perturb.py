"""Give values to the constants of a fresh model, so that a proof covers what they hide.

A residual scale of zero hides its whole branch (0 == 0 proves nothing), a batch norm with weight 1, bias 0,
mean 0 and variance 1 hides the order of its operations. Since weights go from PyTorch to Flax, changing them
before they are carried over costs nothing. Only tensors that are constant are touched: a trained model stays
as it is.
"""

import numpy as np
import torch

from parity.verdict.record import Note


def perturb(model: torch.nn.Module, seed: int) -> list[Note]:
    """Replace, in a model that the engine owns, every constant floating parameter and norm statistic.

    Scales, variances and other parameters become uniform in [0.5, 1.5], biases and means normal with
    deviation 0.1.

    Returns:
        One note that names how many were changed, or none.
    """
    generator = np.random.default_rng((seed, 3))
    changed: list[str] = []
    norms = torch.nn.modules.batchnorm._NormBase
    for path, module in model.named_modules():
        statistics = module._buffers if isinstance(module, norms) else {}
        for name, tensor in {**module._parameters, **statistics}.items():
            if tensor is None or not tensor.is_floating_point() or not _is_constant(tensor):
                continue
            if name.endswith(("bias", "mean")):
                values = 0.1 * generator.standard_normal(tuple(tensor.shape))
            else:
                values = generator.uniform(0.5, 1.5, tuple(tensor.shape))
            with torch.no_grad():
                tensor.copy_(torch.from_numpy(np.asarray(values, np.float32)))
            changed.append(f"{path}.{name}" if path else name)
    if not changed:
        return []
    shown = ", ".join(changed[:4]) + (", ..." if len(changed) > 4 else "")
    message = f"{len(changed)} constant tensors were given random values before the comparison: {shown}"
    return [Note("perturbed", "", message)]


def _is_constant(tensor: torch.Tensor) -> bool:
    return tensor.numel() > 0 and bool((tensor == tensor.reshape(-1)[0]).all())
