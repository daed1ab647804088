"""Models through the instrument: each equals its twin, and one that is broken on purpose turns red."""

import functools

import pytest

from flaxcnn import models, ops
from parity.suites.models.cases import TORCHVISION, model_cases
from parity.suites.running import run_case

CASES = {case.name: case for case in model_cases()}


def test_every_model_of_the_registry_has_a_case():
    assert set(models.names()) <= set(CASES)


def test_every_residual_builder_of_torchvision_has_a_case():
    torchvision = pytest.importorskip("torchvision")
    builders = torchvision.models.list_models(module=torchvision.models)
    residual = {name for name in builders if name.startswith(("resne", "wide_resne"))}
    assert set(TORCHVISION) == residual


def test_an_epsilon_of_flax_in_place_of_torchs_is_found_at_the_first_batch_norm(monkeypatch):
    original = ops.batch_norm

    @functools.wraps(original)
    def mutant(*arguments, **options):
        return original(*arguments, **options | {"epsilon": 1e-6})

    monkeypatch.setattr(ops, "batch_norm", mutant)
    outcome = run_case(CASES["cnn-batch-norm"])
    assert outcome.result == "divergent"
    assert "first at bn1 (forward, output, eval mode)" in outcome.sentence
