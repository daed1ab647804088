"""Magnitude pruning: PyTorch's masks, the schedule by hand, and masks that hold through training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch.nn.utils import prune as torch_prune

from flaxcnn import optim
from flaxcnn.compress.prune import pruned, sparsity_at
from flaxcnn.compress.work import pruned_state
from flaxcnn.errors import InvalidArgument
from flaxcnn.train import ema
from flaxcnn.train import state as train_states
from flaxcnn.weights import to_torch


def _params(seed=0):
    draw = np.random.default_rng(seed)
    shapes = {"conv.weight": (3, 3, 2, 5), "conv.bias": (5,), "fc.weight": (7, 4), "fc.bias": (4,)}
    return {name: jnp.asarray(draw.normal(size=shape), jnp.float32) for name, shape in shapes.items()}


def _twin(params):
    arrays = to_torch(params, {})
    net = torch.nn.ModuleDict({"conv": torch.nn.Conv2d(2, 5, 3), "fc": torch.nn.Linear(7, 4)})
    net.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return net


@pytest.mark.parametrize("sparsity", [0.0, 0.33, 0.5, 0.815])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_weights_left_are_those_that_torch_leaves(scope, sparsity):
    params = _params()
    net = _twin(params)
    if scope == "global":
        kernels = [(net["conv"], "weight"), (net["fc"], "weight")]
        torch_prune.global_unstructured(kernels, torch_prune.L1Unstructured, amount=sparsity)
    else:
        for module in net.values():
            torch_prune.l1_unstructured(module, "weight", amount=sparsity)
    found = to_torch(pruned(params, sparsity, scope), {})
    for name, module in net.items():
        np.testing.assert_array_equal(found[f"{name}.weight"], module.weight.detach().numpy())
        np.testing.assert_array_equal(found[f"{name}.bias"], module.bias.detach().numpy())


def test_the_schedule_is_a_cubic():
    # Zhu and Gupta: half of the way leaves an eighth of the difference.
    assert sparsity_at(0, 4, 0.8) == pytest.approx(0.8 - 0.8 * 0.75**3)
    assert sparsity_at(1, 4, 0.8, 0.4) == pytest.approx(0.8 - 0.4 / 8)
    assert sparsity_at(3, 4, 0.8) == 0.8


@pytest.mark.parametrize(
    ("sparsity", "scope", "sentence"),
    [(1.0, "global", "below 1"), (-0.1, "layer", "at least 0"), (0.5, "all", "global or layer")],
)
def test_other_arguments_are_one_sentence(sparsity, scope, sentence):
    with pytest.raises(InvalidArgument, match=sentence):
        pruned(_params(), sparsity, scope)


def test_a_kernel_without_a_weight_is_one_sentence():
    params = _params() | {"small.weight": jnp.full((2, 2), 1e-6, jnp.float32)}
    with pytest.raises(InvalidArgument, match=r"would leave small\.weight without a weight"):
        pruned(params, 0.5)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_masked_updates_are_those_of_torch_with_masked_gradients(name, x64):
    """PyTorch trains the masked weight; here are its zeros set again after each step, which is the same."""
    params = {key: value.astype(jnp.float64) for key, value in pruned(_params(), 0.5).items()}
    net = _twin(params).double()
    options = {"weight_decay": 0.1} | ({"momentum": 0.9} if name == "sgd" else {})
    twin = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[name](net.parameters(), lr=0.1, **options)
    masks = {key: parameter.detach() != 0 for key, parameter in net.named_parameters() if "weight" in key}
    optimiser = optim.keeping_zeros(optim.optimiser(name, 0.1, **options))
    opt_state = optimiser.init(params)
    update = jax.jit(optimiser.update)
    for seed in range(3):
        gradient = {key: value.astype(jnp.float64) for key, value in _params(seed + 1).items()}
        updates, opt_state = update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        arrays = to_torch(gradient, {})
        for key, parameter in net.named_parameters():
            parameter.grad = torch.from_numpy(arrays[key]) * masks.get(key, True)
        twin.step()
    found = to_torch(params, {})
    for key, parameter in net.named_parameters():
        np.testing.assert_allclose(found[key], parameter.detach().numpy(), rtol=0, atol=1e-14)
        if key in masks:
            assert (found[key] == 0).sum() == (~masks[key]).sum() > 0


def test_more_zeros_reach_weights_average_and_momentum():
    params = _params()
    optimiser = optim.keeping_zeros(optim.optimiser("sgd", 0.1, momentum=0.9))
    state = train_states.create(params, {}, optimiser, seed=0, use_ema=True)
    updates, opt_state = optimiser.update(_params(1), state.opt_state, params)
    moved = optax.apply_updates(params, updates)
    average = ema.update(state.ema, moved, 0.9, 5)
    state = pruned_state(state._replace(params=moved, opt_state=opt_state, ema=average), 0.6, "global")
    gone = {key: np.asarray(value) == 0 for key, value in state.params.items() if value.ndim > 1}
    assert sum(part.sum() for part in gone.values()) == round(0.6 * (90 + 28))
    traces = [leaf for leaf in jax.tree.leaves(state.opt_state.inner) if leaf.shape in ((3, 3, 2, 5), (7, 4))]
    assert len(traces) == 2
    for key, part in gone.items():
        assert not np.asarray(state.ema[key])[part].any() and np.asarray(state.ema[key])[~part].all()
        trace = next(np.asarray(leaf) for leaf in traces if leaf.shape == part.shape)
        assert not trace[part].any() and trace[~part].all()
        np.testing.assert_array_equal(state.opt_state.masks[key], ~part)


def test_an_optimiser_that_moves_everything_moves_no_zero():
    params = pruned(_params(), 0.5)
    restless = optax.stateless(lambda updates, _: jax.tree.map(jnp.ones_like, updates))
    optimiser = optim.keeping_zeros(restless)
    updates, _ = optimiser.update(_params(1), optimiser.init(params), params)
    for name, value in params.items():
        np.testing.assert_array_equal(updates[name], (value != 0) if value.ndim > 1 else np.ones(value.shape))
