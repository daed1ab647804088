"""Groups of parameters against `torch.optim`'s, in float64: rates of their own, and groups that join later."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from flaxcnn import optim
from flaxcnn.errors import InvalidArgument

SHAPES = {"a.weight": (3, 2), "a.bias": (2,), "b.weight": (4,)}
MAKERS = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    "adam": (torch.optim.Adam, {"weight_decay": 0.1}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.1}),
    "rmsprop": (torch.optim.RMSprop, {"momentum": 0.5}),
}


def drawn(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}


def tensors_of(arrays):
    return {name: torch.tensor(value, requires_grad=True) for name, value in arrays.items()}


@pytest.mark.parametrize("name", MAKERS)
def test_groups_with_rates_and_one_that_joins_later_are_pytorchs(x64, name):
    """`a.bias` has five times the rate; `b.weight` joins after three updates, clipped together with the others."""
    kind, options = MAKERS[name]
    rate, start = 0.05, drawn(0)
    tensors = tensors_of(start)
    reference = kind(
        [{"params": [tensors["a.weight"]]}, {"params": [tensors["a.bias"]], "lr": 5 * rate}],
        lr=rate,
        **options,
    )
    flax = optim.optimiser(
        name,
        rate,
        factors={"a.bias": 5.0},
        groups={"a.weight": "0", "a.bias": "0", "b.weight": "1"},
        clip_norm=1.5,
        **options,
    )
    params = {k: jnp.asarray(v) for k, v in start.items()}
    trained = ["a.weight", "a.bias"]
    state = flax.init({k: params[k] for k in trained})
    update = jax.jit(flax.update)
    for step in range(6):
        if step == 3:
            trained.append("b.weight")
            reference.add_param_group({"params": [tensors["b.weight"]]})
            before = state
            state = optim.joined(state, flax.init(params))
            kept = dict(jax.tree_util.tree_leaves_with_path(state))
            for path, leaf in jax.tree_util.tree_leaves_with_path(before):
                assert np.array_equal(kept[path], leaf), path
        gradient = drawn(10 + step)
        for k in trained:
            tensors[k].grad = torch.tensor(gradient[k])
        torch.nn.utils.clip_grad_norm_([tensors[k] for k in trained], 1.5)
        reference.step()
        updates, state = update(
            {k: jnp.asarray(gradient[k]) for k in trained}, state, {k: params[k] for k in trained}
        )
        params |= optax.apply_updates({k: params[k] for k in trained}, updates)
        for k, tensor in tensors.items():
            np.testing.assert_allclose(params[k], tensor.detach().numpy(), rtol=1e-12, atol=1e-14, err_msg=k)
    assert np.any(np.asarray(params["b.weight"]) != start["b.weight"])


def test_a_state_that_knows_more_than_there_is_is_refused():
    adam = optim.optimiser("adam", 0.1)
    more, fewer = ({name: jnp.zeros(2) for name in names} for names in (("a", "b"), ("a",)))
    with pytest.raises(InvalidArgument, match=r"no place for .*b"):
        optim.joined(adam.init(more), adam.init(fewer))
