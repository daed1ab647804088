"""The configuration: every field a flag and a JSON key, and wrong values in one sentence."""

import json

import pytest

from flaxcnn import config as configuration
from flaxcnn.cli.arguments import config_of
from flaxcnn.cli.main import parser
from flaxcnn.config import Config, ConfigError


def of(*flags):
    return config_of(parser().parse_args(["train", *flags]))


def test_defaults_are_the_configuration_without_flags():
    assert of("--data", "digits") == Config()


def test_every_field_is_a_flag_and_a_key(tmp_path):
    given = {
        bool: lambda default: not default,
        int: lambda default: default + 1,
        float: lambda default: default / 2 + 0.01,
        str: lambda default: default,
    }
    for name, (section, item) in configuration.fields().items():
        default = Config().get(name)
        if name == "class_weights":
            value, flags = "balanced", ["balanced"]
        elif name == "crop_scale":
            value, flags = [0.5, 1.0], ["0.5", "1"]
        elif isinstance(default, dict):
            value, flags = {"width": 3}, ["width=3"]
        elif item.type == list[str]:
            value = {"thaw": ["3:layer1", "4:fc"], "rates": ["layer1=0.1", "fc=2"]}.get(
                name, ["layer1", "fc"]
            )
            flags = value
        elif isinstance(default, list) or item.type == list[float] | None:
            value, flags = [1.0, 2.0], ["1", "2"]
        elif default is None:
            value = {float | None: 0.5, int | None: 3}.get(item.type, "somewhere")
            flags = [str(value)]
        elif name == "precision":
            value, flags = "bfloat16", ["bfloat16"]
        else:
            value = given[type(default)](default)
            flags = [str(value)]
        flag = "--" + name.replace("_", "-")
        if isinstance(default, bool):
            flag, flags = ("--no-" + flag[2:] if default else flag), []
        assert of(flag, *flags).get(name) == value, name
        for content in ({name: value}, {section: {name: value}}):
            path = tmp_path / "config.json"
            path.write_text(json.dumps(content))
            assert configuration.read(path).get(name) == value, name


def test_class_weights_are_numbers_or_a_word(capsys):
    assert of("--class-weights", "1", "2.5").loss.class_weights == [1.0, 2.5]
    assert of("--class-weights", "balanced").loss.class_weights == "balanced"
    with pytest.raises(SystemExit):
        of("--class-weights", "even")
    assert "'even' is neither a number nor the word balanced" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="class_weights is \\['1', 'balanced'\\]"):
        of("--class-weights", "1", "balanced")


def test_flags_override_the_file_and_options_merge(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"epochs": 3, "seed": 4, "model_options": {"width": 8, "stem": "plain"}}))
    config = of("--config", str(path), "--epochs", "5", "--model-option", "width=32")
    assert (config.run.epochs, config.run.seed) == (5, 4)
    assert config.model.model_options == {"width": 32, "stem": "plain"}


def test_a_configuration_survives_its_own_json(tmp_path):
    config = Config().replace(epochs=3, clip_norm=1.0, model_options={"width": 4}, data_dir="x")
    path = tmp_path / "config.json"
    path.write_text(config.to_json())
    assert configuration.read(path) == config


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not JSON"),
        ("[1]", "holds list; expected an object"),
        ('{"epoch": 3}', r"There is no setting 'epoch': did you mean epochs"),
        ('{"optimizer": "adam"}', r"There is no setting 'optimizer': did you mean optimiser"),
        ('{"optimizer": {"momentum": 0.5}}', r"There is no setting 'optimizer': did you mean optimiser"),
        ('{"run": {"lerning_rate": 1}}', r"There is no setting 'lerning_rate': did you mean learning_rate"),
        ('{"Batch-Size": 3}', r"did you mean batch_size"),
        ('{"zzz": 3}', r"There is no setting 'zzz': choose one of model, "),
        ('{"milestone_epochs": [1, null]}', r"milestone_epochs is \[1, None\]; expected a list of numbers"),
        ('{"milestone_epochs": ["1"]}', r"expected a list of numbers"),
        ('{"milestone_epochs": [true]}', r"expected a list of numbers"),
        ('{"milestone_epochs": null}', r"expected a list of numbers"),
        ('{"model_options": [1]}', r"model_options is \[1\]; expected an object"),
        ('{"run": null}', r"run is None; expected an object of settings"),
        ('{"epochs": "three"}', "epochs is 'three'; expected a whole number"),
        ('{"epochs": true}', "epochs is True; expected a whole number"),
        ('{"momentum": null}', "momentum is None; expected a number"),
        ('{"epochs": 0}', "epochs is 0; expected a number from 1"),
        ('{"learning_rate": -1}', "learning_rate is -1"),
        ('{"label_smoothing": 2}', "label_smoothing is 2"),
        ('{"precision": "float8"}', "precision is 'float8'; expected float32, bfloat16"),
        ('{"mixup": 1, "cutmix": 1}', "choose one of them"),
        ('{"random_resized_crop": true, "crop_padding": 4}', "choose one of them"),
        ('{"policy": "auto"}', "policy is 'auto'; expected none, trivial or rand"),
        ('{"rand_magnitude": 31}', "rand_magnitude is 31; expected a number from 0 to 30"),
        ('{"crop_scale": [0.5, 0.1]}', "crop_scale is 0.5 0.1; expected two positive numbers of at most 1"),
        ('{"crop_ratio": [1]}', "crop_ratio is 1; expected two positive numbers, the lower one first"),
        ('{"class_weights": "even"}', "class_weights is 'even'; expected balanced, or a number for each"),
        ('{"class_weights": [1, 0]}', "class_weights holds 0; expected positive numbers"),
        ('{"class_weights": [1, null]}', r"class_weights is \[1, None\]; expected a list of numbers"),
        ('{"class_weights": 3}', "class_weights is 3; expected a list of numbers, or the word balanced"),
    ],
)
def test_wrong_files_are_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=sentence) as caught:
        configuration.read(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="Cannot read the configuration"):
        configuration.read(tmp_path / "none.json")
