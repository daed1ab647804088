"""The train step against a training loop in PyTorch, in float64; and what it must not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from flaxcnn import models, optim, weights
from flaxcnn.config import AugmentConfig, LossConfig
from flaxcnn.functional import functional
from flaxcnn.train import state as train_states
from flaxcnn.train.step import Recipe, make_train_step, penalty, prepared
from parity.suites.models import twins

NO_AUGMENTATION = AugmentConfig(crop_padding=0, flip=False, rotate=0.0, cutout=0)
OPTIONS = {"image_size": 8, "channels": (4, 6), "hidden": 8, "dropout": 0.0, "batch_norm": True}


def as_float64(arrays):
    return {
        k: v.astype(jnp.float64) if jnp.issubdtype(v.dtype, jnp.floating) else v for k, v in arrays.items()
    }


def recipe_of(parts, optimiser, schedule, dtype=jnp.float64, **settings):
    settings = {"augment": NO_AUGMENTATION, "loss": LossConfig(label_smoothing=0.0)} | settings
    return Recipe(
        apply=parts.apply,
        optimiser=optimiser,
        schedule=schedule,
        num_classes=10,
        mean=jnp.asarray([0.3], dtype),
        std=jnp.asarray([0.2], dtype),
        **settings,
    )


def batches(rng, count, size=8, rows=16):
    """Random batches; the last one has five rows only, padded with rubbish that must not matter."""
    for index in range(count):
        valid = rows if index < count - 1 else 5
        image = rng.uniform(size=(rows, size, size, 1))
        label = rng.integers(0, 10, rows).astype(np.int32)
        yield {"image": image, "label": label, "mask": np.arange(rows) < valid}, valid


@pytest.mark.parametrize("penalties", [pytest.param({}, marks=pytest.mark.drawn), {"l1": 1e-3, "l2": 1e-2}])
def test_training_equals_pytorchs_with_a_short_last_batch(x64, penalties):
    torch.manual_seed(0)
    twin = twins.CNN(image_size=(8, 8), channels=(4, 6), hidden=8, dropout=0.0, batch_norm=True).double()
    parts = functional(models.cnn(**OPTIONS))
    arrays = {k: v.numpy().copy() for k, v in twin.state_dict().items()}
    params, state = weights.from_torch(arrays, as_float64(parts.params), as_float64(parts.state))
    schedule = optim.schedule("cosine", 0.1, 6)
    optimiser = optim.optimiser("sgd", schedule, momentum=0.9, nesterov=True, weight_decay=1e-3)
    recipe = recipe_of(parts, optimiser, schedule, loss=LossConfig(label_smoothing=0.1, **penalties))
    trained = train_states.create(params, state, optimiser, seed=0, use_ema=False)
    step = jax.jit(make_train_step(recipe), donate_argnums=0)

    torch_optimiser = torch.optim.SGD(
        twin.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3
    )
    torch_schedule = torch.optim.lr_scheduler.CosineAnnealingLR(torch_optimiser, 6)
    twin.train()
    for batch, valid in batches(np.random.default_rng(0), 6):
        trained, metrics = step(trained, batch)
        x = torch.tensor(batch["image"][:valid].transpose(0, 3, 1, 2))
        y = torch.tensor(batch["label"][:valid], dtype=torch.long)
        logits = twin((x - 0.3) / 0.2)
        data_loss = F.cross_entropy(logits, y, label_smoothing=0.1)
        loss = data_loss
        for parameter in twin.parameters():
            loss = loss + penalties.get("l1", 0) * parameter.abs().sum()
            loss = loss + penalties.get("l2", 0) * parameter.square().sum()
        torch_optimiser.zero_grad()
        loss.backward()
        norm = torch.sqrt(sum(p.grad.square().sum() for p in twin.parameters()))
        rate = torch_schedule.get_last_lr()[0]
        torch_optimiser.step()
        torch_schedule.step()
        assert float(metrics["loss"]) == pytest.approx(loss.item(), rel=1e-10)
        assert float(metrics["loss_sum"]) == pytest.approx(data_loss.item() * valid, rel=1e-10)
        assert int(metrics["count"]) == valid
        assert int(metrics["correct"]) == int((logits.argmax(1) == y).sum())
        assert float(metrics["gradient_norm"]) == pytest.approx(norm.item(), rel=1e-9)
        assert float(metrics["learning_rate"]) == pytest.approx(rate, rel=1e-12)
    after = {k: v.numpy() for k, v in twin.state_dict().items()}
    for name, array in weights.to_torch(trained.params, trained.state).items():
        np.testing.assert_allclose(array, after[name], rtol=1e-8, atol=1e-10, err_msg=name)
    assert int(trained.step) == 6


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_are_pytorchs(x64, smoothing):
    """The gradient of one step, by the change of the weights, and the loss, with a short batch."""
    torch.manual_seed(0)
    twin = twins.CNN(image_size=(8, 8), channels=(4, 6), hidden=8, dropout=0.0, batch_norm=True).double()
    parts = functional(models.cnn(**OPTIONS))
    arrays = {k: v.numpy().copy() for k, v in twin.state_dict().items()}
    params, state = weights.from_torch(arrays, as_float64(parts.params), as_float64(parts.state))
    schedule = optim.schedule("constant", 1.0, 1)
    optimiser = optim.optimiser("sgd", schedule)
    given = np.random.default_rng(5).uniform(0.1, 5, 10)
    loss = LossConfig(label_smoothing=smoothing)
    recipe = recipe_of(parts, optimiser, schedule, loss=loss, class_weights=jnp.asarray(given))
    start = train_states.create(params, state, optimiser, seed=0, use_ema=False)
    _, (batch, valid) = batches(np.random.default_rng(0), 2)
    after, metrics = jax.jit(make_train_step(recipe))(start, batch)

    twin.train()
    criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor(given), label_smoothing=smoothing)
    logits = twin((torch.tensor(batch["image"][:valid].transpose(0, 3, 1, 2)) - 0.3) / 0.2)
    expected = criterion(logits, torch.tensor(batch["label"][:valid], dtype=torch.long))
    expected.backward()
    assert float(metrics["loss"]) == pytest.approx(expected.item(), rel=1e-10)
    gradients = {name: parameter.grad.numpy() for name, parameter in twin.named_parameters()}
    before = weights.to_torch(params, state)
    for name, array in weights.to_torch(after.params, after.state).items():
        if name in gradients:
            gap = before[name] - array
            np.testing.assert_allclose(gap, gradients[name], rtol=1e-8, atol=1e-10, err_msg=name)


def test_boxes_are_erased_to_the_mean_colour_and_evaluation_sees_the_centre():
    parts = functional(models.cnn(**OPTIONS))
    schedule = optim.schedule("constant", 0.1, 1)
    augment = AugmentConfig(rotate=0.0, erasing=1.0, crop_size=6)
    recipe = recipe_of(parts, optim.optimiser("sgd", schedule), schedule, jnp.float32, augment=augment)
    images = np.full((8, 9, 9, 1), 1.0, np.float32)
    images[:, 0] = 0.0
    out = np.asarray(prepared(jnp.asarray(images), recipe, jax.random.key(0)))
    assert out.shape == (8, 6, 6, 1)
    # 0 is the mean; a pixel of the upper border is (0 - 0.3) / 0.2, another (1 - 0.3) / 0.2.
    assert set(np.unique(out.round(4))) <= {-1.5, 0.0, 3.5}
    assert ((out == 0).sum(axis=(1, 2, 3)) > 0).all()
    seen = np.asarray(prepared(jnp.asarray(images), recipe, None))
    np.testing.assert_allclose(seen, np.full((8, 6, 6, 1), 3.5), rtol=1e-6)


def test_padding_changes_nothing(x64):
    """A short batch padded with rubbish gives the update of the short batch alone."""
    parts = functional(models.cnn(**OPTIONS))
    schedule = optim.schedule("constant", 0.1, 1)
    optimiser = optim.optimiser("sgd", schedule)
    step = jax.jit(make_train_step(recipe_of(parts, optimiser, schedule)))
    start = train_states.create(
        as_float64(parts.params), as_float64(parts.state), optimiser, seed=0, use_ema=False
    )
    (batch, _), *_ = batches(np.random.default_rng(1), 2)
    padded = batch | {"mask": np.arange(16) < 7}
    short = {name: value[:7] for name, value in padded.items()}
    once, _ = step(start, padded)
    again, _ = step(start, short)
    for name in once.params:
        np.testing.assert_allclose(
            once.params[name], again.params[name], rtol=1e-11, atol=1e-14, err_msg=name
        )
    for name in once.state:
        np.testing.assert_allclose(once.state[name], again.state[name], rtol=1e-11, atol=1e-14, err_msg=name)


def test_randomness_is_a_function_of_seed_and_step():
    parts = functional(models.cnn(**OPTIONS | {"dropout": 0.5}))
    schedule = optim.schedule("constant", 0.0, 10)
    optimiser = optim.optimiser("sgd", schedule)
    recipe = recipe_of(parts, optimiser, schedule, jnp.float32, augment=AugmentConfig(flip=True))
    step = jax.jit(make_train_step(recipe))
    (batch, _), *_ = batches(np.random.default_rng(2), 2)
    batch["image"] = batch["image"].astype(np.float32)
    start = train_states.create(parts.params, parts.state, optimiser, seed=5, use_ema=False)
    first, second = step(start, batch), step(start, batch)
    assert float(first[1]["loss"]) == float(second[1]["loss"])
    later = step(first[0], batch)[1]["loss"]
    assert float(later) != float(first[1]["loss"])  # the rate is zero: only dropout and augmentation differ
    other = train_states.create(parts.params, parts.state, optimiser, seed=6, use_ema=False)
    assert float(step(other, batch)[1]["loss"]) != float(first[1]["loss"])
    restarted = later == step(first[0]._replace(key=jax.random.key(5)), batch)[1]["loss"]
    assert bool(restarted)


@pytest.mark.slow
def test_a_gradient_in_parts_is_that_of_pytorch_for_the_whole_batch(x64):
    """Parts of 4 rows; of the last batch one part is full, one has a row, and two are padding."""
    torch.manual_seed(0)
    twin = twins.CNN(image_size=(8, 8), channels=(4, 6), hidden=8, dropout=0.0, batch_norm=False).double()
    parts = functional(models.cnn(**OPTIONS | {"batch_norm": False}))
    arrays = {k: v.numpy().copy() for k, v in twin.state_dict().items()}
    params, state = weights.from_torch(arrays, as_float64(parts.params), as_float64(parts.state))
    schedule = optim.schedule("constant", 0.1, 3)
    optimiser = optim.optimiser("sgd", schedule, momentum=0.9)
    loss = LossConfig(label_smoothing=0.1, l1=1e-3, l2=1e-2)
    step = jax.jit(make_train_step(recipe_of(parts, optimiser, schedule, loss=loss, accumulate=4)))
    flax = train_states.create(params, state, optimiser, seed=0, use_ema=False)
    torch_optimiser = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    for batch, valid in batches(np.random.default_rng(0), 3):
        flax, metrics = step(flax, batch)
        x = torch.tensor(batch["image"][:valid].transpose(0, 3, 1, 2))
        y = torch.tensor(batch["label"][:valid], dtype=torch.long)
        logits = twin((x - 0.3) / 0.2)
        data_loss = F.cross_entropy(logits, y, label_smoothing=0.1)
        total = data_loss
        for parameter in twin.parameters():
            total = total + 1e-3 * parameter.abs().sum() + 1e-2 * parameter.square().sum()
        torch_optimiser.zero_grad()
        total.backward()
        norm = torch.sqrt(sum(p.grad.square().sum() for p in twin.parameters()))
        torch_optimiser.step()
        assert float(metrics["loss"]) == pytest.approx(total.item(), rel=1e-10)
        assert float(metrics["loss_sum"]) == pytest.approx(data_loss.item() * valid, rel=1e-10)
        assert (int(metrics["count"]), int(metrics["correct"])) == (valid, int((logits.argmax(1) == y).sum()))
        assert float(metrics["gradient_norm"]) == pytest.approx(norm.item(), rel=1e-9)
    after = {k: v.numpy() for k, v in twin.state_dict().items()}
    for name, array in weights.to_torch(flax.params, flax.state).items():
        np.testing.assert_allclose(array, after[name], rtol=1e-8, atol=1e-10, err_msg=name)


def test_a_part_of_padding_leaves_the_running_statistics_alone():
    """PyTorch's, which never sees that part; without care they would go to those of no row at all."""
    parts = functional(models.cnn(**OPTIONS))
    schedule = optim.schedule("constant", 0.0, 1)
    optimiser = optim.optimiser("sgd", schedule)
    step = jax.jit(make_train_step(recipe_of(parts, optimiser, schedule, jnp.float32, accumulate=2)))
    rng = np.random.default_rng(3)
    image = rng.uniform(size=(16, 8, 8, 1)).astype(np.float32)
    batch = {"image": image, "label": np.zeros(16, np.int32), "mask": np.arange(16) < 8}
    start = train_states.create(parts.params, parts.state, optimiser, seed=0, use_ema=False)
    after, _ = step(start, batch)
    norm = torch.nn.BatchNorm2d(4)
    kernel = torch.tensor(np.asarray(parts.params["conv1.weight"]).transpose(3, 2, 0, 1).copy())
    x = torch.tensor((image[:8].transpose(0, 3, 1, 2) - np.float32(0.3)) / np.float32(0.2))
    bias = parts.params.get("conv1.bias")
    norm(F.conv2d(x, kernel, None if bias is None else torch.tensor(np.asarray(bias)), padding=1))
    np.testing.assert_allclose(after.state["bn1.running_mean"], norm.running_mean.numpy(), atol=1e-5)
    np.testing.assert_allclose(after.state["bn1.running_var"], norm.running_var.numpy(), atol=1e-5)
    assert int(after.state["bn1.num_batches_tracked"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixing_trains_on_soft_labels_of_valid_rows_only(kind):
    parts = functional(models.cnn(**OPTIONS))
    schedule = optim.schedule("constant", 0.1, 10)
    optimiser = optim.optimiser("sgd", schedule)
    augment = AugmentConfig(crop_padding=0, rotate=0.0, **{kind: 1.0})
    step = jax.jit(make_train_step(recipe_of(parts, optimiser, schedule, jnp.float32, augment=augment)))
    (batch, _), *_ = batches(np.random.default_rng(3), 2)
    batch["image"] = batch["image"].astype(np.float32)
    batch["mask"] = np.arange(16) < 9
    start = train_states.create(parts.params, parts.state, optimiser, seed=0, use_ema=False)
    poisoned = batch | {
        "image": np.where(batch["mask"][:, None, None, None], batch["image"], 1e6).astype(np.float32)
    }
    clean, _ = step(start, batch)
    dirty, _ = step(start, poisoned)
    plain, _ = jax.jit(make_train_step(recipe_of(parts, optimiser, schedule, jnp.float32)))(start, batch)
    for name in clean.params:
        np.testing.assert_array_equal(clean.params[name], dirty.params[name])
    assert not np.array_equal(clean.params["fc1.weight"], plain.params["fc1.weight"])


def test_moving_average_follows_weights_and_statistics():
    parts = functional(models.cnn(**OPTIONS))
    schedule = optim.schedule("constant", 0.1, 10)
    optimiser = optim.optimiser("sgd", schedule)
    step = jax.jit(make_train_step(recipe_of(parts, optimiser, schedule, jnp.float32, ema_decay=0.9)))
    trained = train_states.create(parts.params, parts.state, optimiser, seed=0, use_ema=True)
    for batch, _ in batches(np.random.default_rng(4), 4):
        batch["image"] = batch["image"].astype(np.float32)
        trained, _ = step(trained, batch)
    params, state = trained.evaluated
    assert params.keys() == trained.params.keys()
    assert state.keys() == trained.state.keys()
    assert int(state["bn1.num_batches_tracked"]) == 4
    # The decay has warmed up: of 0.9999 an average over four steps would be the first weights still.
    long = jax.jit(make_train_step(recipe_of(parts, optimiser, schedule, jnp.float32, ema_decay=0.9999)))
    held = train_states.create(parts.params, parts.state, optimiser, seed=0, use_ema=True)
    average = np.asarray(parts.params["fc1.weight"], np.float64)
    for number, (batch, _) in enumerate(batches(np.random.default_rng(4), 4)):
        batch["image"] = batch["image"].astype(np.float32)
        held, _ = long(held, batch)
        decay = min(0.9999, (1 + number) / (10 + number))
        average = decay * average + (1 - decay) * np.asarray(held.params["fc1.weight"], np.float64)
    np.testing.assert_allclose(held.evaluated[0]["fc1.weight"], average, rtol=1e-5, atol=1e-6)
    start, now = parts.params["fc1.weight"], trained.params["fc1.weight"]
    average = params["fc1.weight"]
    assert 0 < float(jnp.linalg.norm(average - start)) < float(jnp.linalg.norm(now - start))
    assert not np.array_equal(state["bn1.running_mean"], trained.state["bn1.running_mean"])


def test_penalty_is_a_sum_of_squares_not_a_norm():
    params = {"a": jnp.asarray([3.0, -4.0]), "b": jnp.asarray([[1.0]])}
    assert float(penalty(params, LossConfig(l2=1.0))) == 26.0
    assert float(penalty(params, LossConfig(l1=1.0))) == 8.0
    assert float(penalty(params, LossConfig())) == 0.0
