"""What is searched: a good file becomes ranges and choices, a bad one is told in one sentence."""

import json

import pytest

from flaxcnn.config import Config, fields
from flaxcnn.tune.composing import configuration_of
from flaxcnn.tune.errors import TuneError
from flaxcnn.tune.space import Choices, Range, parse, read


def test_ranges_choices_and_values_that_are_kept():
    space = parse(
        {
            "learning_rate": {"low": 1e-2, "high": 1, "log": True},
            "batch_size": {"low": 16, "high": 70, "step": 16},
            "flip": {"choices": [True, False]},
            "momentum": {"low": 0, "high": 0.99, "step": 0.3},
            "model_options.width": {"low": 8, "high": 32},
            "model_options.drop": {"low": 0, "high": 0.5},
            "model_options.stem": "plain",
            "crop_scale": {"choices": [[0.1, 1], [0.5, 1]]},
            "epochs": 3,
        },
        Config(),
    )
    assert space.searched == {
        "learning_rate": Range(0.01, 1.0, None, True, False),
        "batch_size": Range(16, 64, 16, False, True),  # 70 is no whole number of steps away
        "flip": Choices((True, False)),
        "momentum": Range(0.0, 0.9, 0.3, False, False),
        "model_options.width": Range(8, 32, 1, False, True),
        "model_options.drop": Range(0.0, 0.5, None, False, False),
        "crop_scale": Choices(([0.1, 1], [0.5, 1])),
    }
    assert space.kept == {"model_options.stem": "plain", "epochs": 3}
    assert space.searched["momentum"].values() == [0.0, 0.3, 0.6, 0.9]  # in decimals, not 0.8999
    assert space.settings({"model_options.width": 16, "flip": False}) == {
        "epochs": 3,
        "flip": False,
        "model_options": {"stem": "plain", "width": 16},
    }


@pytest.mark.parametrize("name", sorted(set(fields()) - {"out", "pictures"}))
def test_every_setting_can_be_searched(name):
    """By a choice of its default; one of a number also by a range."""
    default = Config().get(name)
    assert parse({name: {"choices": [default]}}, Config()).searched[name] == Choices((default,))


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ({"learning_rat": {"low": 0.1, "high": 1}}, "did you mean learning_rate?"),
        ({"learning_rate": {"low": 0.1, "hi": 1}}, "learning_rate has 'hi' in the space: did you mean high?"),
        ({"learning_rate": {"low": 0.1}}, "learning_rate has no high"),
        (
            {"learning_rate": {"low": 1, "high": 0.1}},
            "range of learning_rate is empty: low is 1 and high 0.1",
        ),
        ({"learning_rate": {"low": 1, "high": 1}}, "is empty"),
        ({"learning_rate": {"low": 0, "high": 1, "log": True}}, "logarithmic from 0; expected low above 0"),
        ({"learning_rate": {"low": 0.1, "high": 1, "log": 1}}, "log of learning_rate is 1; expected true or"),
        ({"learning_rate": {"low": 0.1, "high": 1, "log": True, "step": 0.1}}, "has a step and log"),
        ({"learning_rate": {"low": 0.1, "high": 1, "step": 0}}, "step of learning_rate is 0"),
        ({"learning_rate": {"low": 0.1, "high": 1, "step": 2}}, "at most 0.9"),
        (
            {"learning_rate": {"low": float("nan"), "high": 1}},
            "low of learning_rate is NaN; expected a finite",
        ),
        ({"learning_rate": {"low": "a", "high": 1}}, 'low of learning_rate is "a"; expected a finite number'),
        ({"learning_rate": {"low": True, "high": 2}}, "low of learning_rate is true"),
        (
            {"learning_rate": {"low": 0.1, "high": 1e9}},
            "learning_rate is 1000000000.0; expected a number from 0",
        ),
        ({"batch_size": {"low": 8.5, "high": 64}}, "low of batch_size is 8.5; expected a whole number"),
        ({"batch_size": {"choices": [32, "many"]}}, "batch_size is 'many'; expected a whole number"),
        ({"batch_size": {"choices": []}}, "expected a list of at least one value"),
        ({"batch_size": {"choices": 32}}, "batch_size has the choices 32; expected a list"),
        ({"batch_size": {"choices": [32, 32]}}, "batch_size has a choice twice"),
        ({"batch_size": {"choices": [32], "low": 3}}, "choices and a range"),
        ({"schedule": {"low": 1, "high": 2}}, "schedule has a range in the space, but is no number"),
        ({"flip": {"low": 0, "high": 1}}, "flip has a range in the space, but is no number"),
        ({"out": {"choices": ["a", "b"]}}, "every trial has a folder of its own"),
        ({"epochs": 3}, "Every setting of the space has one value"),
        (
            {"epochs": "three", "flip": {"choices": [True, False]}},
            "epochs is 'three'; expected a whole number",
        ),
        ({}, "expected an object of settings"),
        ([1], "The space is [1]; expected an object"),
    ],
)
def test_a_bad_space_is_told_in_one_sentence(space, sentence):
    with pytest.raises(TuneError) as caught:
        parse(space, Config())
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "Cannot read the space"),
        ("{", "is not JSON"),
        ('{"epochs": {"choices": [1]}, "epochs": {"choices": [2]}}', "names 'epochs' twice"),
    ],
)
def test_a_bad_file_is_told_in_one_sentence(tmp_path, text, sentence):
    if text is not None:
        (tmp_path / "space.json").write_text(text)
    with pytest.raises(TuneError, match=sentence):
        read(tmp_path / "space.json")


def test_a_file_is_read(tmp_path):
    content = {"epochs": {"choices": [1, 2]}}
    (tmp_path / "space.json").write_text(json.dumps(content))
    assert read(tmp_path / "space.json") == content


def test_settings_of_another_optimiser_or_schedule_are_left_out():
    """The base is sgd with a rate of its own; what was drawn for sgd means nothing to adam."""
    base = Config().replace(learning_rate=0.3, momentum=0.8, model_options={"width": 8})
    space = parse(
        {
            "optimiser": {"choices": ["sgd", "adam"]},
            "schedule": {"choices": ["step", "one_cycle"]},
            "nesterov": {"choices": [True, False]},
            "gamma": {"low": 0.1, "high": 0.5},
            "model_options.stem": "plain",
        },
        base,
    )
    drawn = {"optimiser": "adam", "schedule": "one_cycle", "nesterov": False, "gamma": 0.2}
    adam = configuration_of(base, space, drawn)
    assert (adam.get("learning_rate"), adam.get("momentum"), adam.get("nesterov")) == (None, 0.9, True)
    assert adam.get("gamma") == Config().get("gamma")
    sgd = configuration_of(base, space, drawn | {"optimiser": "sgd", "schedule": "step"})
    assert (sgd.get("learning_rate"), sgd.get("momentum"), sgd.get("nesterov")) == (0.3, 0.8, False)
    assert sgd.get("gamma") == 0.2
    assert sgd.get("model_options") == {"width": 8, "stem": "plain"}
