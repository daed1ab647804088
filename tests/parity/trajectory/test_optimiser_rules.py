"""The search for an update rule alone, on steps that torch.optim takes."""

import numpy as np
import pytest
import torch

from parity.diagnose.training.optimiser import UpdateStep, identify_optimiser, rule_of


def stepped(make, gradients, start):
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimiser, parameters = make([parameter]), []
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient.copy())
        optimiser.step()
        parameters.append(parameter.detach().numpy().copy())
    return optimiser, parameters


def sgd(momentum, nesterov=False):
    return lambda params: torch.optim.SGD(params, lr=0.1, momentum=momentum, nesterov=nesterov)


def rmsprop(momentum):
    return lambda params: torch.optim.RMSprop(params, lr=0.01, momentum=momentum)


@pytest.mark.parametrize(
    ("torch_rule", "flax_rule", "words"),
    [
        (sgd(0.9), sgd(0.901), ("momentum 0.9", "momentum 0.901")),
        (sgd(0.9, nesterov=True), sgd(0.65, nesterov=True), ("momentum 0.9", "momentum 0.65")),
        (rmsprop(0.5), rmsprop(0.37), ("momentum 0.5", "momentum 0.37")),
    ],
)
def test_any_other_momentum_is_solved_for(torch_rule, flax_rule, words):
    """Found by `parity defects`: a momentum that nobody uses stayed unexplained."""
    generator = np.random.default_rng(0)
    start, gradients = generator.standard_normal(12), generator.standard_normal((3, 12))
    optimiser, after = stepped(torch_rule, gradients, start)
    # Every step of Flax starts from PyTorch's parameters, so the change that its rule makes is added to them.
    _, alone = stepped(flax_rule, gradients, start)
    sequence, before, previous = [], start, start
    for number, gradient in enumerate(gradients):
        change, previous = alone[number] - previous, alone[number]
        sequence.append(
            UpdateStep(
                number,
                rate := optimiser.param_groups[0]["lr"],
                rate,
                {},
                float(np.linalg.norm(gradient)),
                {"w": before},
                {"w": gradient},
                {"w": after[number]},
                {"w": before + change},
            )
        )
        before = after[number]
    causes = identify_optimiser(rule_of(optimiser, None), sequence, {"w": (4, 3)})
    assert [(cause.id, cause.torch, cause.flax) for cause in causes] == [("momentum-form", *words)]
