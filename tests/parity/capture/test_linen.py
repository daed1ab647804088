"""A Linen model whose call extends that of its parent class is one call, and all of it is compared."""

import torch
from flax import linen

import parity


class Base(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(4, name="fc")(x)


class Shifted(Base):
    shift: float = 0.0

    @linen.compact
    def __call__(self, x):
        return super().__call__(x) + self.shift


class Torch(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 4)

    def forward(self, x):
        return self.fc(x) + 0.5


def test_what_a_subclass_adds_to_its_parents_call_is_compared():
    options = {"mode": "eval", "sizes": "same", "probes": False}
    assert parity.check(Torch(), Shifted(shift=0.5), "2x3", **options).verdict == "equivalent"
    wrong = parity.check(Torch(), Shifted(shift=0.25), "2x3", **options)
    assert wrong.verdict == "divergent"
    assert wrong.first_divergence.layer == "fc -> output"
