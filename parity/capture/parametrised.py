"""PyTorch layers whose weight is computed (weight_norm, spectral_norm): the effective weight is compared."""

import warnings

import torch
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from parity.verdict.record import Note


def without_parametrisation(model: torch.nn.Module) -> list[Note]:
    """Put the effective weights in place of what they are computed from; one remark a layer.

    The model is changed: it must be the caller's own. A port holds the effective weight, whose value and gradient are
    then compared. In train mode spectral_norm would change its weight at every call; it is compared as it stands.
    """
    notes = []
    model.eval()
    for path, module in model.named_modules():
        names = list(module.parametrizations) if parametrize.is_parametrized(module) else []
        # With gradients on, the effective weight becomes a parameter and no buffer.
        with torch.enable_grad():
            for name in names:
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
        names += _old_style(module)
        for name in names:
            message = f"{name} is computed from other tensors in PyTorch: the effective {name} is compared"
            notes.append(Note("weights", path, message))
    return notes


def _old_style(module: torch.nn.Module) -> list[str]:
    """Remove what `torch.nn.utils.weight_norm` and `spectral_norm` registered as hooks."""
    hooks = [
        hook for hook in module._forward_pre_hooks.values() if isinstance(hook, (WeightNorm, SpectralNorm))
    ]
    for hook in hooks:
        remove = remove_weight_norm if isinstance(hook, WeightNorm) else remove_spectral_norm
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            remove(module, hook.name)
    return [hook.name for hook in hooks]
