"""Recipes and neutral defaults: what was the default, or stood in a study, is what the recipe gives, in all fields."""

import json

import pytest

from experiments.training.time_to_accuracy import flaxcnn_side
from experiments.training.time_to_accuracy.recipe import RECIPE
from flaxcnn import config as configuration
from flaxcnn import recipes
from flaxcnn.cli.arguments import config_of, recipe_of
from flaxcnn.cli.main import main, parser
from flaxcnn.config import BY_OPTIMISER, Config, ConfigError

# Every setting of `Config()` before there were recipes (commit cc05a8e), by section.
FORMER = {
    "model": {"model": "resnet20", "model_options": {}},
    "data": {
        "data": "digits",
        "data_dir": None,
        "image_size": None,
        "split_seed": 0,
        "validation_fraction": 0.1,
        "test_fraction": 0.2,
        "workers": 2,
    },
    "augment": {
        "crop_padding": 0,
        "flip": False,
        "rotate": 15.0,
        "cutout": 0,
        "brightness": 0.0,
        "contrast": 0.0,
        "saturation": 0.0,
        "hue": 0.0,
        "mixup": 0.0,
        "cutmix": 0.0,
    },
    "loss": {"label_smoothing": 0.1, "l1": 0.0, "l2": 0.0},
    "optimiser": {
        "optimiser": "sgd",
        "learning_rate": 0.2,
        "momentum": 0.9,
        "nesterov": True,
        "dampening": 0.0,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-08,
        "alpha": 0.99,
        "weight_decay": 0.0005,
        "decay_norm_and_bias": False,
        "schedule": "one_cycle",
        "warmup_epochs": 0.0,
        "step_epochs": 30.0,
        "milestone_epochs": [15.0, 25.0],
        "gamma": 0.1,
        "one_cycle_warmup": 0.3,
        "clip_norm": None,
        "clip_value": None,
        "ema_decay": 0.0,
    },
    "run": {
        "epochs": 60,
        "batch_size": 64,
        "seed": 0,
        "precision": "float32",
        "fast_rules": True,
        "out": None,
        "tensorboard": True,
        "pictures": True,
    },
}
# What `experiments.training.fashion_mnist` and `time_to_accuracy` changed of it.
COMMON = {
    "data": "fashion_mnist",
    "validation_fraction": 0.0,
    "batch_size": 128,
    "rotate": 0.0,
    "flip": True,
    "crop_padding": 2,
    "one_cycle_warmup": 0.2,
    "label_smoothing": 0.05,
    "epochs": 20,
}
CHANGED = {
    "digits": {},
    "fashion_mnist_cnn": COMMON
    | {
        "model": "cnn",
        "model_options": {"batch_norm": True, "dropout": 0.3, "hidden": 256},
        "learning_rate": 0.1,
        "crop_padding": 1,
    },
    "fashion_mnist_resnet": COMMON | {"model_options": {"stem": "plain", "width": 48}},
    "fashion_mnist_resnet_small": COMMON | {"model_options": {"stem": "plain", "width": 32}},
    "fashion_mnist": COMMON
    | {
        "model": "resnet9",
        "model_options": {
            "widths": [16, 64, 128],
            "pools": [True, True, True],
            "branches": [0, 2, 2],
            "logit_scale": 0.25,
        },
        "crop_padding": 1,
        "learning_rate": 0.15,
        "one_cycle_warmup": 0.25,
        "epochs": 10,
        "batch_size": 100,
    },
}


def flat(config):
    """Every setting by name, as JSON has it."""
    return {k: v for section in json.loads(config.to_json()).values() for k, v in section.items()}


def of(*flags):
    return config_of(parser().parse_args(["train", *flags]))


@pytest.mark.parametrize("name", CHANGED)
def test_a_recipe_is_bit_for_bit_what_trained_before(name):
    """The same configuration is the same run: the settings that there were then are compared, all of them."""
    expected = {k: v for section in FORMER.values() for k, v in section.items()} | CHANGED[name]
    found = flat(recipes.config(name).resolved())
    assert {key: found[key] for key in expected} == expected


def test_settings_that_came_later_are_neutral_in_the_recipes_of_before():
    before = {key for section in FORMER.values() for key in section}
    neutral = flat(Config())
    for name in CHANGED:
        found = flat(recipes.config(name))
        assert {key: found[key] for key in found.keys() - before} == {
            key: neutral[key] for key in neutral.keys() - before
        }


def test_the_study_trains_the_recipe_fashion_mnist():
    assert flat(flaxcnn_side.config_of(RECIPE, seed=0)) == flat(recipes.config("fashion_mnist"))


def test_the_defaults_change_no_image_and_no_label():
    config = Config()
    # These say how, where another one says whether.
    how = {"crop_scale", "crop_ratio", "rand_operations", "rand_magnitude"}
    assert {v for name, v in vars(config.augment).items() if name not in how} == {0, None, "none"}
    assert (config.loss.label_smoothing, config.loss.l1, config.loss.l2) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("optimiser", "rate"), [("sgd", 0.1), ("adam", 1e-3), ("adamw", 1e-3), ("rmsprop", 1e-3)]
)
def test_the_learning_rate_follows_the_optimiser(optimiser, rate):
    given = Config().replace(optimiser=optimiser)
    assert given.optimiser.learning_rate is None
    settings = given.resolved().optimiser
    assert (settings.learning_rate, settings.weight_decay) == (rate, BY_OPTIMISER[optimiser][1])
    kept = given.replace(learning_rate=0.01, weight_decay=0.0).resolved().optimiser
    assert (kept.learning_rate, kept.weight_decay) == (0.01, 0.0)


def test_a_recipe_gives_nothing_that_belongs_to_another_choice():
    adam = recipes.config("digits", {"optimiser": "adam"}).resolved().optimiser
    assert (adam.learning_rate, adam.weight_decay) == (1e-3, 0.0)
    assert (
        recipes.config("digits", {"optimiser": "adam", "learning_rate": 0.01}).optimiser.learning_rate == 0.01
    )
    assert recipes.config("digits", {"optimiser": "sgd"}).optimiser.learning_rate == 0.2
    assert recipes.config("fashion_mnist", {"schedule": "cosine"}).optimiser.one_cycle_warmup == 0.3
    assert recipes.config("fashion_mnist", {"model": "resnet20"}).model.model_options == {}
    options = recipes.config("fashion_mnist", {"model_options": {"logit_scale": 0.5}}).model.model_options
    assert options["logit_scale"] == 0.5 and options["widths"] == [16, 64, 128]


def test_defaults_then_recipe_then_file_then_flags(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"epochs": 7, "rotate": 3.0, "description": "mine", "source": "me"}))
    config = of("--recipe", "digits", "--config", str(path), "--epochs", "5")
    assert (config.run.epochs, config.augment.rotate, config.loss.label_smoothing) == (5, 3.0, 0.1)


def test_without_data_or_settings_the_recipe_digits_is_trained(tmp_path):
    (tmp_path / "empty.json").write_text("{}")
    for flags, name in (
        ((), "digits"),
        (("--model", "cnn", "--epochs", "2"), "digits"),
        (("--data", "digits"), None),
        (("--config", str(tmp_path / "empty.json")), None),
        (("--data", "digits", "--recipe", "cifar"), "cifar"),
    ):
        assert recipe_of(parser().parse_args(["train", *flags])) == name
    assert of() == recipes.config("digits")
    assert of("--data", "digits") == Config()


TINY = ["--model", "cnn", "--model-options", "channels=[2,2]", "--epochs", "1", "--batch-size", "256"]
QUIET = ["--no-pictures", "--no-tensorboard"]


def test_the_first_line_names_the_recipe_and_the_folder_keeps_the_rate(tmp_path, capsys):
    assert main(["train", *TINY, *QUIET, "--out", str(tmp_path / "a")]) == 0
    assert capsys.readouterr().out.startswith("recipe digits: ")
    flags = ["--data", "digits", "--optimiser", "adam"]
    assert main(["train", *TINY, *QUIET, *flags, "--out", str(tmp_path / "b")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("neutral settings; tuned to digits: --recipe digits\n")
    kept = json.loads((tmp_path / "b" / "config.json").read_text())["optimiser"]
    summary = json.loads((tmp_path / "b" / "summary.json").read_text())
    assert kept["learning_rate"] == summary["learning_rate"] == 1e-3
    assert kept["weight_decay"] == summary["weight_decay"] == 0.0


def test_every_recipe_reads_and_says_where_it_comes_from(capsys, tmp_path):
    assert {"digits", "fashion_mnist", "cifar", "imagenet"} <= set(recipes.names())
    for name in recipes.names():
        assert len(recipes.remarks(name)["source"]) > 10
        recipes.config(name).resolved()
    assert main(["recipes"]) == 0
    assert "arxiv.org/abs/1512.03385" in capsys.readouterr().out
    assert main(["recipes", "cifar"]) == 0
    path = tmp_path / "cifar.json"
    path.write_text(capsys.readouterr().out)
    assert configuration.read(path) == recipes.config("cifar")


def test_an_unknown_recipe_is_one_sentence(capsys):
    assert main(["train", "--recipe", "digit"]) == 1
    assert capsys.readouterr().err == "flaxcnn: There is no recipe named 'digit': did you mean digits?\n"
    with pytest.raises(ConfigError, match=r"no optimiser named 'adma': did you mean adam"):
        Config().replace(optimiser="adma").resolved()


def test_a_config_of_a_former_run_still_loads(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(FORMER))
    config = configuration.read(path)
    assert config == recipes.config("digits")
    assert config.resolved() == config
