"""Patterns, stages and phases: which parameters they mean, and one sentence where they mean nothing."""

import jax
import numpy as np
import pytest
from flax import nnx

from flaxcnn import models
from flaxcnn.config import Config, ConfigError
from flaxcnn.functional import functional
from flaxcnn.transfer.names import first_convolution, head_of, matches, stages
from flaxcnn.transfer.plan import Plan, plan_of, with_frozen_norms

NETS = {
    "resnet20": {"width": 2},
    "preact_resnet20": {"width": 2},
    "cnn": {"image_size": 8, "channels": (2, 2), "hidden": 2, "batch_norm": True},
    "resnet9": {"widths": (2, 2), "pools": (False, True), "branches": (1, 2)},
}


@pytest.fixture(scope="module")
def nets():
    """Small models with their parameters."""
    found = {}
    for name, options in NETS.items():
        model = models.create(name, **options)
        found[name] = model, functional(model).params
    return found


def plan(net, **settings):
    config = Config().replace(learning_rate=0.1, epochs=9, **settings)
    return plan_of(config, *net)


@pytest.mark.parametrize(
    ("name", "pattern", "meant"),
    [
        ("layer1.0.conv1.weight", "layer1", True),
        ("layer1.0.conv1.weight", "layer1.*", True),
        ("layer1.0.conv1.weight", "layer1.0", True),
        ("layer10.0.conv1.weight", "layer1", False),
        ("layer1.0.conv1.weight", "conv1", False),
        ("layer1.0.conv1.weight", "*.conv1", True),
        ("layer1.0.bn1.bias", "*.bias", True),
        ("fc.weight", "FC", False),
    ],
)
def test_a_pattern_means_parameters_and_the_modules_they_belong_to(name, pattern, meant):
    assert matches(name, pattern) is meant


@pytest.mark.parametrize(
    ("name", "head", "first", "order"),
    [
        ("resnet20", "fc", "conv1", ["conv1.weight", "layer1", "layer2", "layer3", "fc"]),
        ("preact_resnet20", "fc", "conv1", ["conv1.weight", "layer1", "layer2", "layer3", "fc"]),
        ("cnn", "fc2", "conv1", ["conv1", "conv2", "fc1", "fc2"]),
        ("resnet9", "fc", "stages.0.unit.conv", ["stages.0", "stages.1", "fc"]),
    ],
)
def test_stages_head_and_first_layer_of_each_kind_of_network(nets, name, head, first, order):
    model, params = nets[name]
    assert (head_of(model), first_convolution(model)) == (head, first)
    found = stages(model, params)
    assert len(found) == len(order)
    assert sorted(name for stage in found for name in stage) == sorted(params)
    for stage, start in zip(found, order, strict=True):
        assert any(name.startswith(start) for name in stage), (stage, start)
    if name == "preact_resnet20":
        assert "bn.weight" in found[3]


def test_nothing_given_is_the_plan_of_every_run(nets):
    assert plan(nets["cnn"]) == Plan()


def test_all_but_the_head_freezes_norms_in_mode_and_the_model_stays_as_it_was(nets):
    model, params = nets["cnn"]
    found = plan(nets["cnn"], freeze=["all-but-head"])
    assert set(params) - found.frozen[0] == {"fc2.weight", "fc2.bias"}
    assert {"bn1.running_mean", "bn1.running_var", "bn1.num_batches_tracked"} <= found.frozen[0]
    copy = with_frozen_norms(model, found.frozen[0])
    assert (copy.bn1.frozen, copy.bn2.frozen, model.bn1.frozen) == (True, True, False)
    images = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    _, params, state = functional(model)
    _, after = functional(copy).apply(params, state, images, train=True, key=jax.random.key(1))
    for name, value in after.items():
        assert np.array_equal(value, state[name]), name
    # Without its scale a norm is only half frozen, and counts on.
    assert not any("running" in name for name in plan(nets["cnn"], freeze=["bn1.weight"]).frozen[0])


def test_phases_thaw_in_the_order_of_their_epochs(nets):
    found = plan(nets["resnet20"], freeze=["all-but-head"], thaw=["5:layer2", "2:layer3", "2:layer1.0"])
    assert found.epochs == (0, 2, 5)
    assert [found.phase(epoch) for epoch in (0, 1, 2, 4, 5, 8)] == [0, 0, 1, 1, 2, 2]
    gone = [before - after for before, after in zip(found.frozen, found.frozen[1:], strict=False)]
    assert {name.split(".")[0] for name in gone[0]} == {"layer1", "layer3"}
    assert {name.split(".")[0] for name in gone[1]} == {"layer2"}
    assert "layer3.0.bn1.running_var" in gone[0]
    assert found.groups["fc.weight"] == "0" and found.groups["layer3.0.conv1.weight"] == "1"
    assert found.groups["layer2.0.conv1.weight"] == "2" and "conv1.weight" not in found.groups


def test_rates_and_the_decay_from_stage_to_stage(nets):
    found = plan(nets["resnet20"], layer_decay=0.5, rates=["layer3.0=0.3", "layer3=0.2", "conv1=0.7"])
    assert found.factors["fc.weight"] == 1.0
    assert found.factors["layer3.0.conv1.weight"] == pytest.approx(3.0)
    assert found.factors["layer3.1.conv1.weight"] == pytest.approx(2.0)
    assert found.factors["layer2.1.conv1.weight"] == 0.25
    assert found.factors["layer1.1.bn1.bias"] == 0.125
    assert (found.factors["conv1.weight"], found.factors["bn1.weight"]) == (pytest.approx(7.0), 0.0625)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"freeze": ["layer7"]}, "freeze holds the pattern 'layer7', which matches no parameter"),
        ({"freeze": ["*"]}, "matches every parameter, so that nothing would be trained"),
        ({"freeze": ["all-but-head", "fc"]}, "matches every parameter"),
        ({"freeze": ["layer1"], "thaw": ["3:layer2"]}, "thaw holds the pattern 'layer2', which matches no"),
        ({"freeze": ["layer1"], "thaw": ["9:layer1"]}, "the run has only 9 epochs"),
        ({"thaw": ["1:layer1"]}, "thaw holds the pattern 'layer1'"),
        ({"rates": ["layer9=0.1"]}, "rates holds the pattern 'layer9'"),
        ({"freeze": ["layer1"], "rates": ["layer1=0.1"]}, "which changes nothing"),
        ({"rates": ["layer1=0.1", "layer1.0=0.2"]}, "'layer1.0=0.2', which changes nothing"),
        ({"learning_rate": 0.0, "layer_decay": 0.5}, "learning_rate is 0"),
    ],
)
def test_what_means_nothing_is_one_sentence(nets, settings, sentence):
    with pytest.raises(ConfigError) as error:
        plan(nets["resnet20"], **settings) if "learning_rate" not in settings else plan_of(
            Config().replace(**settings), *nets["resnet20"]
        )
    assert sentence in str(error.value)
    assert str(error.value).endswith((".", "?")) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rates": ["layer4"]}, "expected PATTERN=RATE"),
        ({"rates": ["layer4=fast"]}, "expected PATTERN=RATE"),
        ({"rates": ["layer4=-1"]}, "a positive rate"),
        ({"rates": ["=0.1"]}, "expected PATTERN=RATE"),
        ({"thaw": ["layer4"]}, "expected EPOCH:PATTERN"),
        ({"thaw": ["0:layer4"]}, "an epoch of at least 1"),
        ({"thaw": ["3:"]}, "expected EPOCH:PATTERN"),
        ({"thaw": ["²:layer4"]}, "expected EPOCH:PATTERN"),
        ({"stem_channels": "mean"}, "expected repeat or sum"),
        ({"std": [0.1, 0.0]}, "std holds 0; expected positive numbers"),
        ({"mean": [float("nan")]}, "mean holds nan; expected finite numbers"),
        ({"layer_decay": 1.5}, "layer_decay is 1.5"),
        ({"freeze": "layer1"}, "freeze is 'layer1'; expected a list of texts"),
        ({"freeze": [1]}, "expected a list of texts"),
    ],
)
def test_wrong_settings_are_one_sentence(settings, sentence):
    with pytest.raises(ConfigError) as error:
        Config().replace(**settings)
    assert sentence in str(error.value) and str(error.value).endswith(".")


def test_a_model_without_a_head_is_refused():
    class Headless(nnx.Module):
        def __init__(self):
            self.conv = nnx.Conv(1, 1, (1, 1), rngs=nnx.Rngs(0))

    with pytest.raises(ConfigError, match="no dense layer"):
        head_of(Headless())
    with pytest.raises(ConfigError, match="no convolution"):
        first_convolution(Headless())
