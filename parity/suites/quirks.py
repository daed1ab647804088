"""The differences of PyTorch and flaxcnn that cannot be removed, or should not be, each with its smallest reproducer.

The suites leave these corners out; everything that they compare is equivalent.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable

# A number, or the name of the error that is raised in its place.
Value = float | str


@dataclasses.dataclass(frozen=True)
class Quirk:
    """One corner in which the two differ.

    Attributes:
        name: of the quirk.
        sentence: the difference and its reason.
        reproduce: gives PyTorch's value and flaxcnn's, which are not equal.
    """

    name: str
    sentence: str
    reproduce: Callable[[], tuple[Value, Value]]


def torch_rate(scheduler: str, steps: int, *arguments: float | int, **options: float | bool) -> Value:
    """The rate that a scheduler of PyTorch shows after `steps` steps from 1.0, or the error it raises."""
    import torch

    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    try:
        with warnings.catch_warnings():
            # PyTorch warns because the optimiser is never stepped.
            warnings.simplefilter("ignore")
            made = getattr(torch.optim.lr_scheduler, scheduler)(optimiser, *arguments, **options)
            for _ in range(steps):
                made.step()
    except (ValueError, ZeroDivisionError) as error:
        return type(error).__name__
    return float(optimiser.param_groups[0]["lr"])


def flax_rate(schedule: str, step: int, total_steps: int, **options: float | int) -> float:
    """The rate at a step of a schedule of flaxcnn from 1.0, in float64."""
    from flaxcnn import optim
    from parity.capture.flax import precision

    with precision("float64"):
        return float(optim.schedule(schedule, 1.0, total_steps, **options)(step))


def cosine_after_its_end() -> tuple[Value, Value]:
    """Step 45 of a cosine of 34 steps: 1 - cos(pi / 34) loses digits at step 35, and later rates are its multiples."""
    return torch_rate("CosineAnnealingLR", 45, 34), flax_rate("cosine", 45, 34)


def linear_recursion() -> tuple[Value, Value]:
    """Step 60 of 100 steps from 1 to 0: the product of 60 rounded factors, and 0.4."""
    return torch_rate("LinearLR", 60, 1.0, 0.0, 100), flax_rate("linear", 60, 100)


def warm_up_before_a_linear_schedule() -> tuple[Value, Value]:
    """The second of two steps of warm-up before a schedule that starts at half the rate."""
    import torch
    from torch.optim import lr_scheduler

    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main = lr_scheduler.LinearLR(optimiser, 0.5, 0.0, 4)
        warm_up = lr_scheduler.LinearLR(optimiser, 0.2, 1.0, 2)
        lr_scheduler.SequentialLR(optimiser, [warm_up, main], [2]).step()
    flax_value = flax_rate("linear", 1, 6, start_factor=0.5, warmup_steps=2, warmup_start_factor=0.2)
    return float(optimiser.param_groups[0]["lr"]), flax_value


def warm_up_from_zero() -> tuple[Value, Value]:
    """The first rate of a warm-up whose start_factor is 0."""
    flax_value = flax_rate("constant", 0, 10, warmup_steps=2, warmup_start_factor=0.0)
    return torch_rate("LinearLR", 0, 0.0, 1.0, 2), flax_value


def one_cycle_without_a_rise() -> tuple[Value, Value]:
    """The first rate where pct_start * total_steps is exactly 1."""
    torch_value = torch_rate("OneCycleLR", 0, 1.0, 10, pct_start=0.1, cycle_momentum=False)
    return torch_value, flax_rate("one_cycle", 0, 10, pct_start=0.1)


def one_cycle_after_its_end() -> tuple[Value, Value]:
    """The rate two steps after the last of ten."""
    return torch_rate("OneCycleLR", 11, 1.0, 10, cycle_momentum=False), flax_rate("one_cycle", 11, 10)


def no_gradient() -> tuple[Value, Value]:
    """A parameter of 1 after one step of SGD with decay, when the loss does not depend on it."""
    import jax.numpy as jnp
    import torch

    from flaxcnn import optim

    parameter = torch.ones((), requires_grad=True)
    torch.optim.SGD([parameter], lr=0.5, weight_decay=0.5).step()
    rule, params = optim.optimiser("sgd", 0.5, weight_decay=0.5), {"p": jnp.ones(())}
    updates, _ = rule.update({"p": jnp.zeros(())}, rule.init(params), params)
    return float(parameter.detach()), float(params["p"] + updates["p"])


def centred_variance_of_nothing() -> tuple[Value, Value]:
    """A parameter after 24 equal gradients under centred RMSprop: the square minus the squared mean is rounding."""
    import jax
    import jax.numpy as jnp
    import torch

    from flaxcnn import optim
    from parity.capture.flax import precision

    gradient, steps = 0.55833995, 24
    parameter = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.RMSprop([parameter], lr=1.0, alpha=0.5, centered=True)
    for _ in range(steps):
        parameter.grad = torch.full((1,), gradient)
        optimiser.step()
    with precision("float32"):
        rule, params = optim.optimiser("rmsprop", 1.0, alpha=0.5, centered=True), {"p": jnp.zeros(1)}
        state, update = rule.init(params), jax.jit(rule.update)
        for _ in range(steps):
            updates, state = update({"p": jnp.full(1, gradient)}, state, params)
            params = {"p": params["p"] + updates["p"]}
        return float(parameter.detach()), float(params["p"][0])


def subnormal_numbers() -> tuple[Value, Value]:
    """Half of the smallest normal float32."""
    import jax.numpy as jnp
    import numpy as np
    import torch

    from parity.capture.flax import precision

    smallest = float(np.finfo(np.float32).tiny)
    with precision("float32"):
        return float(torch.tensor(smallest) * 0.5), float(jnp.asarray(smallest, jnp.float32) * 0.5)


def mixed_targets() -> tuple[Value, Value]:
    """The share of its own label that a float64 image keeps after mixup, given as an integer."""
    import jax.numpy as jnp
    import torch
    from torchvision.transforms import v2

    from flaxcnn.train import mix
    from parity.capture.flax import precision

    mixup = v2.MixUp(num_classes=2)
    torch.manual_seed(7)
    lam = float(mixup.make_params([])["lam"])
    torch.manual_seed(7)
    images = torch.zeros(2, 1, 1, 1, dtype=torch.float64)
    _, torch_targets = mixup(images, torch.tensor([0, 1]))
    with precision("float64"):
        x, labels = jnp.zeros((2, 1, 1, 1)), jnp.eye(2)
        _, flax_targets = mix.mixup_with(x, labels, jnp.asarray(lam), mix.partners(x, None))
    return float(torch_targets[0, 1]), float(flax_targets[0, 1])


def cutmix_side_in_float32() -> tuple[Value, Value]:
    """The width of the rectangle in an image of 28 x 28 for a share on the edge of a pixel."""
    import jax.numpy as jnp

    from flaxcnn.train import mix
    from parity.capture.flax import precision

    size, share = 28, 0.9795918367346939
    torch_value = 2 * int(0.5 * math.sqrt(1.0 - share) * size)
    with precision("float32"):
        center = jnp.asarray(size // 2)
        x1, _, x2, _ = mix.cutmix_box(jnp.asarray(share), center, center, size, size)
        return float(torch_value), float(x2 - x1)


QUIRKS = (
    Quirk(
        "cosine-after-its-end",
        "After its T_max CosineAnnealingLR multiplies up the digits that its recursion lost at the minimum, so it "
        "strays from its own closed form, which flaxcnn computes.",
        cosine_after_its_end,
    ),
    Quirk(
        "linear-recursion",
        "LinearLR multiplies one factor a step into the rate and gathers their rounding, some units in the last "
        "place; flaxcnn computes the closed form.",
        linear_recursion,
    ),
    Quirk(
        "warm-up-before-linear",
        "SequentialLR warms up to the optimiser's rate and then jumps to the start_factor of a linear schedule; "
        "flaxcnn's rises to the first rate of that schedule.",
        warm_up_before_a_linear_schedule,
    ),
    Quirk(
        "warm-up-from-zero",
        "LinearLR refuses a start_factor of 0, since its recursion could never leave it; flaxcnn's starts at "
        "rate 0.",
        warm_up_from_zero,
    ),
    Quirk(
        "one-cycle-without-a-rise",
        "OneCycleLR divides by zero when its rise ends at update 0; flaxcnn's starts at the peak.",
        one_cycle_without_a_rise,
    ),
    Quirk(
        "one-cycle-after-its-end",
        "OneCycleLR raises when it is stepped past total_steps; flaxcnn's keeps the last rate.",
        one_cycle_after_its_end,
    ),
    Quirk(
        "no-gradient",
        "A parameter that the loss does not reach has no gradient in PyTorch and is skipped, decay and all; JAX's "
        "gradient is zero, and the parameter decays.",
        no_gradient,
    ),
    Quirk(
        "centred-variance-of-nothing",
        "Centred RMSprop takes the root of a difference that is zero but for rounding when the gradient has been "
        "constant, so the last bit decides which framework gets NaN, and when.",
        centred_variance_of_nothing,
    ),
    Quirk(
        "subnormal-numbers",
        "XLA flushes numbers below the smallest normal one to zero on the CPU; PyTorch keeps them.",
        subnormal_numbers,
    ),
    Quirk(
        "mixed-targets-in-float32",
        "Given integer labels, torchvision's MixUp and CutMix make targets in float32 whatever the images are; "
        "flaxcnn's have the images' dtype.",
        mixed_targets,
    ),
    Quirk(
        "cutmix-side-in-float32",
        "CutMix floors the half side of its rectangle in Python's float64, flaxcnn in JAX's float32 while training, so "
        "a share on the edge of a pixel can give a side two pixels longer or shorter.",
        cutmix_side_in_float32,
    ),
)
