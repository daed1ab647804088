"""Feature hints: loss and gradient against PyTorch, and a student that is taught by them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from flaxcnn import data
from flaxcnn.cli.main import main
from flaxcnn.compress.hints import PREFIX, hint_loss, projections
from flaxcnn.compress.teaching import taught
from flaxcnn.errors import InvalidArgument
from flaxcnn.train.setup import set_up
from flaxcnn.train.trained import load_run

from .runs import OPTIONS, trained, written

__all__ = ["trained"]

PAIRS = {"a": "x", "b": "y", "c": "z"}


def _outputs(seed, channels):
    draw = np.random.default_rng(seed)
    shapes = [(4, 3, 2, channels), (4, 3, 2, 5), (4, channels)]
    return [jnp.asarray(draw.normal(size=shape)) for shape in shapes]


def test_the_loss_and_its_gradient_are_torchs(x64):
    """Two pairs are projected, one is not; one row does not count, and holds NaN."""
    student, teacher = _outputs(0, 3), _outputs(1, 6)
    student[0] = student[0].at[2].set(jnp.nan)
    mask = jnp.asarray([True, True, False, True])
    draw = np.random.default_rng(2)
    params = {
        "hint.a.weight": jnp.asarray(draw.normal(size=(1, 1, 3, 6))),
        "hint.c.weight": jnp.asarray(draw.normal(size=(3, 6))),
    }

    def loss(params, student):
        mine = dict(zip([PREFIX + name for name in PAIRS], student, strict=True))
        wanted = dict(zip([PREFIX + name for name in PAIRS.values()], teacher, strict=True))
        return hint_loss(mine, wanted, PAIRS, params, mask)

    found, (by_params, by_student) = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, student)
    rows = np.flatnonzero(mask)
    leaves = [torch.from_numpy(np.array(value)).requires_grad_() for value in student]
    kernels = {name: torch.from_numpy(np.array(value)).requires_grad_() for name, value in params.items()}
    mine = [leaf[rows] for leaf in leaves]
    first = torch.nn.functional.conv2d(
        mine[0].permute(0, 3, 1, 2), kernels["hint.a.weight"].permute(3, 2, 0, 1)
    ).permute(0, 2, 3, 1)
    third = torch.nn.functional.linear(mine[2], kernels["hint.c.weight"].T)
    twin = sum(
        0.5 * torch.nn.functional.mse_loss(one, torch.from_numpy(np.array(other))[rows])
        for one, other in zip((first, mine[1], third), teacher, strict=True)
    )
    twin.backward()
    np.testing.assert_allclose(found, twin.item(), rtol=1e-12)
    for name, kernel in kernels.items():
        np.testing.assert_allclose(by_params[name], kernel.grad.numpy(), rtol=1e-10, atol=1e-14)
    for gradient, leaf in zip(by_student, leaves, strict=True):
        np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_projections_are_made_where_channels_differ():
    student = {
        PREFIX + name: jax.ShapeDtypeStruct(value.shape, value.dtype)
        for name, value in zip("abc", _outputs(0, 3), strict=True)
    }
    teacher = {
        PREFIX + name: jax.ShapeDtypeStruct(value.shape, value.dtype)
        for name, value in zip("xyz", _outputs(0, 6), strict=True)
    }
    found = projections(student, teacher, PAIRS, 0)
    assert {name: value.shape for name, value in found.items()} == {
        "hint.a.weight": (1, 1, 3, 6),
        "hint.c.weight": (3, 6),
    }
    with pytest.raises(InvalidArgument, match="a of the student gives 3 x 2 x 3 numbers an image and z of"):
        projections(student, teacher, {"a": "z"}, 0)


@pytest.mark.slow
def test_one_step_has_the_loss_of_torch(trained):
    """The student's features by hand from its own weights: one convolution and norm in training, by torch."""
    teacher = load_run(trained / "run")
    small = OPTIONS | {"dropout": 0.0, "channels": [4, 8]}
    config = teacher.config.replace(model_options=small, rotate=0.0, seed=3)
    job = set_up(config)
    plain = taught(job, teacher, 3.0, 0.7)
    hinted = taught(job, teacher, 3.0, 0.7, {"bn1": "conv1"}, 2.5)
    batch, _ = job.splits.train.gather(np.arange(32))
    labels = data.all_labels(job.splits.train)[:32]
    arrays = {"image": batch, "label": labels, "mask": np.ones(32, bool)}
    x = (batch / np.float32(255) - np.asarray(job.recipe.mean)) / np.asarray(job.recipe.std)
    x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    params = {name: np.array(value) for name, value in hinted.train_state.params.items()}

    def convolved(weights):
        kernel = torch.from_numpy(np.array(weights["conv1.weight"]).transpose(3, 2, 0, 1).copy())
        return torch.nn.functional.conv2d(
            x, kernel, torch.from_numpy(np.array(weights["conv1.bias"])), padding=1
        )

    scale, shift = (torch.from_numpy(params[f"bn1.{name}"]) for name in ("weight", "bias"))
    mine = torch.nn.functional.batch_norm(convolved(params), None, None, scale, shift, training=True)
    projection = torch.from_numpy(params["hint.bn1.weight"].transpose(3, 2, 0, 1).copy())
    wanted = 0.5 * torch.nn.functional.mse_loss(
        torch.nn.functional.conv2d(mine, projection), convolved(teacher.params)
    )
    losses = [
        float(one.train_step(jax.tree.map(jnp.array, one.train_state), arrays)[1]["loss"])
        for one in (plain, hinted)
    ]
    np.testing.assert_allclose(losses[1] - losses[0], 2.5 * wanted.item(), rtol=1e-4)


@pytest.mark.slow
def test_a_student_with_hints_is_an_ordinary_run(trained, tmp_path):
    steps = [
        {"step": "shrink", "ratio": 0.3},
        {
            "step": "distil",
            "teacher": str(trained / "run"),
            "hints": {"bn1": "bn1", "conv2": "conv2"},
            "learning_rate": 0.02,
        },
    ]
    out = tmp_path / "out"
    arguments = ["compress", str(trained / "run"), "--out", str(out), "--repeats", "0", "--recipe"]
    assert main([*arguments, written(tmp_path, steps)]) == 0
    small = load_run(out)
    assert not any(name.startswith(PREFIX) for name in small.params)
    assert small.params["conv2.weight"].shape[-1] < 8
    assert main(["train", "--resume", str(out), "--epochs", "2"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hints", "sentence"),
    [
        ({"bn11": "bn1"}, "hints: the student has no layer 'bn11': did you mean bn1"),
        ({"bn1": "cnv1"}, "hints: the teacher has no layer 'cnv1': did you mean conv1"),
        (
            {"bn1": "conv2"},
            "hints: bn1 of the student gives 8 x 8 x 8 numbers an image and conv2 of the teacher 4 x",
        ),
    ],
)
def test_layers_that_cannot_be_compared_are_one_sentence(trained, hints, sentence):
    teacher = load_run(trained / "run")
    with pytest.raises(InvalidArgument, match=sentence) as raised:
        taught(set_up(teacher.config), teacher, 4.0, 0.9, hints)
    assert "\n" not in str(raised.value)
