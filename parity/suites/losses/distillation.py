"""The group `distillation` of the suite `losses`: against `torch.nn.KLDivLoss`, value and gradient."""

import itertools
from collections.abc import Callable

import numpy as np

from parity.comparison.direct import Compared
from parity.suites.case import Case
from parity.suites.options import SEED, Options, in_words
from parity.suites.stepwise import Recording
from parity.verdict.record import Phase

ROWS, CLASSES = 7, 5
TEMPERATURES, PADDED = (1.0, 4.0, 20.0), (0, 3)


def distillation_cases() -> list[Case]:
    """Every temperature, with and without rows of padding."""
    settings = itertools.product(TEMPERATURES, PADDED)
    cases = []
    for number, (temperature, padded) in enumerate(settings, start=1):
        options: Options = {"temperature": temperature, "padded": padded}
        name = f"distillation-{number:02d}"
        cases.append(
            Case(
                name,
                "losses",
                "distillation",
                number <= 1,
                "train",
                _case(options, number),
                in_words(options),
            )
        )
    return cases


def _case(options: Options, number: int) -> Callable[[], list[Compared]]:
    def build() -> list[Compared]:
        from parity.suites.stepwise import Runs, by_step

        generator = np.random.default_rng((SEED, number))
        arrays = {
            name: 3 * generator.standard_normal((ROWS, CLASSES)).astype(np.float32)
            for name in ("logits", "teacher")
        }
        recordings = Runs(
            *(torch_distillation(options, arrays, dtype) for dtype in ("float32", "float64")),
            *(flax_distillation(options, arrays, dtype) for dtype in ("float32", "float64")),
        )
        phases: dict[str, Phase] = {
            "loss": "forward",
            "gradient of the logits": "backward",
            "gradient by the rule": "backward",
        }
        return by_step(recordings, phases, unit="setting")

    return build


def torch_distillation(options: Options, arrays: dict[str, np.ndarray], dtype: str) -> Recording:
    """As PyTorch's tutorial of distillation has it, without rows of padding."""
    import torch

    temperature = options["temperature"]
    logits = torch.tensor(arrays["logits"].astype(dtype), requires_grad=True)
    teacher = torch.tensor(arrays["teacher"].astype(dtype))
    divergence = torch.nn.KLDivLoss(reduction="batchmean")
    student = torch.log_softmax(logits / temperature, dim=1)
    loss = divergence(student, torch.softmax(teacher / temperature, dim=1)) * temperature**2
    (gradient,) = torch.autograd.grad(loss, logits)
    found = gradient.numpy()
    return [
        {
            "loss": loss.detach().numpy(),
            "gradient of the logits": found,
            "gradient by the rule": found,
        }
    ]


def flax_distillation(options: Options, arrays: dict[str, np.ndarray], dtype: str) -> Recording:
    """`flaxcnn.ops.distillation`, with rows of padding whose values must not matter."""
    import jax
    import jax.numpy as jnp

    from flaxcnn import ops
    from parity.capture.flax import precision

    padding = np.full((options["padded"], CLASSES), np.nan, np.float32)
    mask = np.arange(ROWS + len(padding)) < ROWS

    def loss(logits: jax.Array, teacher: jax.Array) -> jax.Array:
        kept = jnp.asarray(mask) if len(padding) else None
        return ops.distillation(logits, teacher, temperature=options["temperature"], mask=kept)

    with precision(dtype):
        given = [
            jnp.asarray(np.concatenate([arrays[name], padding]).astype(dtype))
            for name in ("logits", "teacher")
        ]
        value, gradient = jax.jit(jax.value_and_grad(loss))(*given)
        kept, one = jnp.asarray(mask) if len(padding) else None, jnp.ones((), dtype)
        by_hand = ops.distillation_backward(one, *given, temperature=options["temperature"], mask=kept)
        return [
            {
                "loss": np.asarray(value),
                "gradient of the logits": np.asarray(gradient)[:ROWS],
                "gradient by the rule": np.asarray(by_hand)[:ROWS],
            }
        ]
