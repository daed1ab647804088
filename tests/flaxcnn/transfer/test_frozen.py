"""Frozen is absent from what is differentiated: PyTorch's training with `requires_grad=False`, fewer operations."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch.nn import functional as F

from flaxcnn import models, ops, optim, weights
from flaxcnn.config import AugmentConfig, Config, LossConfig
from flaxcnn.functional import functional
from flaxcnn.models.blocks import BasicBlock
from flaxcnn.models.resnet import ResNet
from flaxcnn.train import state as train_states
from flaxcnn.train.step import Recipe, make_train_step
from flaxcnn.transfer.names import stages
from flaxcnn.transfer.plan import plan_of, with_frozen_norms
from parity.suites.models import twins

OPTIONS = {"image_size": 8, "channels": (4, 6), "hidden": 8, "dropout": 0.0, "batch_norm": True}
FROZEN = {
    "the first stage": ["conv1", "bn1"],
    "one in the middle": ["conv2", "bn2", "fc1.bias"],
    "all but the head": ["all-but-head"],
}


def as_float64(arrays):
    return {
        k: v.astype(jnp.float64) if jnp.issubdtype(v.dtype, jnp.floating) else v for k, v in arrays.items()
    }


def recipe_of(config, model, params, optimiser, schedule, dtype=jnp.float64, **settings):
    plan = plan_of(config, model, params)
    return Recipe(
        apply=functional(with_frozen_norms(model, plan.frozen[0])).apply,
        optimiser=optimiser(plan),
        schedule=schedule,
        num_classes=10,
        mean=jnp.asarray([0.3], dtype),
        std=jnp.asarray([0.2], dtype),
        augment=AugmentConfig(),
        loss=LossConfig(**settings.pop("loss", {})),
        frozen=plan.frozen[0],
        **settings,
    )


def batches(count, rows=16):
    rng = np.random.default_rng(0)
    for _ in range(count):
        image, label = rng.uniform(size=(rows, 8, 8, 1)), rng.integers(0, 10, rows).astype(np.int32)
        yield {"image": image, "label": label, "mask": np.ones(rows, bool)}


@pytest.mark.parametrize("frozen", FROZEN)
@pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_training_is_pytorchs_with_frozen_parameters_and_norms_and_groups(x64, frozen, accumulate):
    """Three steps of AdamW with weight decay, a rate of its own and a decay by layer, an average and an l2 penalty.

    In PyTorch frozen parameters need no gradient, their norms are in the mode of evaluation, and the groups are those
    of `torch.optim`. Parts of a batch are normalised by themselves, so that only frozen norms allow to accumulate.
    """
    if accumulate == 2 and frozen != "all but the head":
        pytest.skip("norms that are trained see other batches")
    patterns, rate = FROZEN[frozen], 0.02
    torch.manual_seed(0)
    twin = twins.CNN(image_size=(8, 8), channels=(4, 6), hidden=8, dropout=0.0, batch_norm=True).double()
    model = models.cnn(**OPTIONS)
    parts = functional(model)
    arrays = {k: v.numpy().copy() for k, v in twin.state_dict().items()}
    params, state = weights.from_torch(arrays, as_float64(parts.params), as_float64(parts.state))
    schedule = optim.schedule("linear", rate, 4)
    config = Config().replace(freeze=patterns, rates=["fc2.bias=0.2"], layer_decay=0.5, learning_rate=rate)

    def optimiser(plan):
        return optim.optimiser("adamw", schedule, weight_decay=0.1, factors=plan.factors, groups=plan.groups)

    recipe = recipe_of(
        config, model, params, optimiser, schedule, loss={"l2": 1e-2}, ema_decay=0.5, accumulate=accumulate
    )
    flax = train_states.create(params, state, recipe.optimiser, seed=0, use_ema=True, frozen=recipe.frozen)
    step = jax.jit(make_train_step(recipe))

    named = dict(twin.named_parameters())
    for name, parameter in named.items():
        parameter.requires_grad = name not in recipe.frozen
    twin.train()
    for norm in ("bn1", "bn2"):
        if f"{norm}.weight" in recipe.frozen:
            getattr(twin, norm).eval()
    by_stage = [["conv1.", "bn1."], ["conv2.", "bn2."], ["fc1."], ["fc2."]]
    depth = {n: i for n in named for i, heads in enumerate(by_stage) if any(n.startswith(h) for h in heads)}
    reference = torch.optim.AdamW(
        [
            {"params": [p], "lr": 0.2 if n == "fc2.bias" else rate * 0.5 ** (3 - depth[n])}
            for n, p in named.items()
        ],
        weight_decay=0.1,
    )
    by_step = torch.optim.lr_scheduler.LambdaLR(
        reference, lambda number: float(schedule(jnp.asarray(number))) / rate
    )
    for batch in batches(3):
        flax, metrics = step(flax, batch)
        x = torch.tensor(batch["image"].transpose(0, 3, 1, 2))
        loss = F.cross_entropy(twin((x - 0.3) / 0.2), torch.tensor(batch["label"], dtype=torch.long))
        loss = loss + sum(1e-2 * p.square().sum() for p in named.values() if p.requires_grad)
        reference.zero_grad()
        loss.backward()
        norm = torch.sqrt(sum(p.grad.square().sum() for p in named.values() if p.grad is not None))
        reference.step()
        by_step.step()
        assert float(metrics["loss"]) == pytest.approx(loss.item(), rel=1e-12)
        assert float(metrics["gradient_norm"]) == pytest.approx(norm.item(), rel=1e-11)
    after = weights.to_torch(flax.params, flax.state)
    for name, value in twin.state_dict().items():
        np.testing.assert_allclose(after[name], value.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)
    for name in recipe.frozen:
        held, was = (flax.params | flax.state)[name], (params | state)[name]
        assert np.array_equal(held, was), name
        # Nor is it in what the optimiser and the average keep, or in what they give.
        assert name not in flax.ema and np.array_equal((flax.evaluated[0] | flax.evaluated[1])[name], was)
    kept = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(flax.opt_state)}
    assert not any(name in path for path in kept for name in recipe.frozen)
    assert any("fc2.weight" in path for path in kept)


def convolutions(recipe, flax, batch):
    """Convolutions in the compiled program of a step, each gradient being one: no rule of the CPU makes it several."""
    with ops.fast_rules():
        text = jax.jit(make_train_step(recipe)).lower(flax, batch).compile().as_text()
    return len(re.findall(r" convolution\(", text))


def test_frozen_stages_leave_no_backward_convolution_in_the_compiled_program():
    """A forward pass has n convolutions, the backward pass 2 n - 1: the images need no gradient.

    With the first stages frozen only those above are differentiated; with one in the middle frozen only its kernels
    are not.
    """
    model = ResNet(
        BasicBlock,
        (1, 1, 1),
        (2, 4, 8),
        in_channels=1,
        stem="cifar",
        shortcut="A",
        num_classes=10,
        rngs=nnx.Rngs(0),
    )
    params, state = functional(model)[1:]
    batch = next(batches(1, rows=2)) | {"image": np.zeros((2, 8, 8, 1), np.float32)}
    order = stages(model, params)
    kernels = [sum(params[name].ndim == 4 for name in stage) for stage in order]
    assert kernels == [1, 2, 2, 2, 0]
    total = sum(kernels)
    expected = {
        (): 3 * total - 1,
        ("all-but-head",): total,
        # The lowest trained convolution needs no gradient of its input.
        ("conv1", "bn1", "layer1", "layer2"): total + 2 * kernels[3] - 1,
        ("layer2",): 3 * total - 1 - kernels[2],
    }
    found = {}
    for patterns in expected:
        config = Config().replace(freeze=list(patterns), learning_rate=0.1)
        schedule = optim.schedule("constant", 0.1, 1)
        recipe = recipe_of(
            config, model, params, lambda plan: optim.optimiser("sgd", 0.1), schedule, dtype=jnp.float32
        )
        flax = train_states.create(
            params, state, recipe.optimiser, seed=0, use_ema=False, frozen=recipe.frozen
        )
        found[patterns] = convolutions(recipe, flax, batch)
    assert found == expected


def test_a_thawed_parameter_starts_from_nothing_and_the_rest_goes_on_bit_for_bit():
    model = models.cnn(**OPTIONS)
    parts = functional(model)
    config = Config().replace(
        freeze=["conv1", "bn1"], thaw=["1:conv1", "1:bn1"], learning_rate=0.1, epochs=2, optimiser="adam"
    )
    plan = plan_of(config, model, parts.params)
    optimiser = optim.optimiser("adam", 0.1, groups=plan.groups)
    before = train_states.create(
        parts.params, parts.state, optimiser, seed=0, use_ema=True, frozen=plan.frozen[0]
    )
    before = before._replace(opt_state=jax.tree.map(lambda x: x + jnp.ones_like(x), before.opt_state))
    after = train_states.thawed(before, optimiser, plan.frozen[1])
    held = dict(jax.tree_util.tree_leaves_with_path(before.opt_state))
    now = dict(jax.tree_util.tree_leaves_with_path(after.opt_state))
    assert all(np.array_equal(now[path], leaf) for path, leaf in held.items())
    fresh = {jax.tree_util.keystr(path): leaf for path, leaf in now.items() if path not in held}
    assert fresh and not any(np.any(leaf) for leaf in fresh.values())
    assert {n for n in parts.params if any(n in path for path in fresh)} == {
        n for n in plan.frozen[0] if n in parts.params
    }
    assert np.array_equal(after.ema["conv1.weight"], parts.params["conv1.weight"])
    assert set(after.ema) == set(train_states.averaged(parts.params, parts.state))
    assert dataclasses.asdict(plan)["epochs"] == (0, 1)
