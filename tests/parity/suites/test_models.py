"""Models through the instrument: each equals its twin, and one that is broken on purpose turns red."""

import fnmatch
import functools
import math

import pytest

from flaxcnn import models, ops
from parity.suites.models import TORCHVISION, model_cases
from parity.suites.running import run_case

CASES = {case.name: case for case in model_cases()}
# Deep or wide: minutes and up to ten gigabytes each, with the blocks of the others and more of them. They are
# compared by `python -m experiments.parity_suite models`; names, shapes and counts are tested in flaxcnn/models.
LARGE = (
    "wide*",
    "resnext*",
    "resnet50-v1",
    "preact_resnet50",
    "*34",
    "*101*",
    "*152*",
    "resnet44*",
    "resnet56*",
    "resnet110*",
    "preact_resnet44",
    "preact_resnet56",
    "preact_resnet110",
)
SMALL = [name for name in CASES if not any(fnmatch.fnmatch(name, pattern) for pattern in LARGE)]


def test_every_model_of_the_registry_has_a_case():
    assert set(models.names()) <= set(CASES)


def test_every_residual_builder_of_torchvision_has_a_case():
    torchvision = pytest.importorskip("torchvision")
    found = torchvision.models.list_models(module=torchvision.models)
    residual = {name for name in found if name.startswith(("resne", "wide_resne"))}
    assert set(TORCHVISION) == residual


@pytest.mark.parametrize("name", ["resnet20-plain"])
def test_equal_to_the_twin(name):
    found = run_case(CASES[name])
    assert found.result == "equivalent", found.sentence
    assert [mode.mode for mode in found.modes] == ["eval", "train"]
    assert 1 < found.margin < math.inf
    assert 0 < found.gap < 1e-11
    assert all(0 < mode.output_gap < 1e-11 for mode in found.modes)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SMALL if name != "resnet20-plain"])
def test_every_model_equals_its_twin(name):
    found = run_case(CASES[name])
    assert found.result == "equivalent", found.sentence


def test_an_epsilon_of_flax_in_place_of_torchs_is_found_at_the_first_batch_norm(monkeypatch):
    original = ops.batch_norm

    @functools.wraps(original)
    def mutant(*arguments, **options):
        return original(*arguments, **options | {"epsilon": 1e-6})

    monkeypatch.setattr(ops, "batch_norm", mutant)
    found = run_case(CASES["cnn-batch-norm"])
    assert found.result == "divergent"
    assert "first at bn1 (forward, output, eval mode)" in found.sentence
