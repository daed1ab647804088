"""Options of a model: a wrong one is one sentence that names it, before anything is built."""

import inspect
import json

import numpy as np
import pytest

from flaxcnn import models
from flaxcnn.config import Config, ConfigError
from flaxcnn.data import DatasetInfo
from flaxcnn.errors import InvalidArgument
from flaxcnn.functional import functional
from flaxcnn.models.registry import _OPTIONS
from flaxcnn.train.setup import model_of

# model, options as `--model-options` reads them, what the sentence says
BAD = [
    ("resnet20", '{"width": 0}', r"width=0; expected no number below 1"),
    ("resnet20", '{"width": -3}', r"width=-3; expected no number below 1"),
    ("resnet20", '{"width": 1.5}', r"width=1\.5; expected a whole number"),
    ("resnet20", '{"width": "abc"}', r"width='abc'; expected a whole number"),
    ("resnet20", '{"width": null}', r"width=None; expected a whole number"),
    ("resnet20", '{"width": [8]}', r"width=\[8\]; expected a whole number"),
    ("resnet20", '{"width": true}', r"width=True; expected a whole number"),
    ("resnet20", '{"width": {}}', r"width=\{\}; expected a whole number"),
    ("resnet20", '{"width": 100000000}', r"above 1,000,000"),
    ("resnet20", '{"width": 1000000}', r"would have [\d,]+ parameters"),
    ("resnet20", '{"widht": 3}', r"no option 'widht': did you mean width"),
    ("resnet20", '{"block": 3}', r"no option 'block'"),
    ("resnet20", '{"depths": [1, 2]}', r"no option 'depths'"),
    ("resnet20", '{"widths": [1, 2, 3]}', r"no option 'widths': did you mean width"),
    ("resnet20", '{"self": 1}', r"no option 'self'"),
    ("resnet20", '{"stem": 5}', r"stem=5; expected a text"),
    ("resnet20", '{"stem": "round"}', r"stem='round'; expected one of imagenet, cifar, plain"),
    ("resnet20", '{"stem_width": 64}', r"shortcut='A', which can only add channels"),
    ("resnet20", '{"dropout": 1.0}', r"dropout=1\.0; expected a number of at least 0 and below 1"),
    ("resnet20", '{"dropout": -1}', r"dropout=-1; expected a number of at least 0"),
    ("resnet20", '{"dropout": NaN}', r"dropout=nan; expected a number"),
    ("resnet20", '{"groups": 2}', r"BasicBlock got groups=2"),
    ("resnet20", '{"stride_on": "1x1"}', r"BasicBlock got stride_on='1x1'"),
    ("resnet20", '{"zero_init_residual": 1}', r"zero_init_residual=1; expected true or false"),
    ("preact_resnet20", '{"groups": 2}', r"PreActivationBasicBlock got groups=2"),
    ("resnet18", '{"widths": [64, 128]}', r"2 widths for 4 stages"),
    ("resnet18", '{"widths": [0, 1, 2, 3]}', r"expected no number below 1"),
    ("resnet18", '{"widths": []}', r"0 widths for 4 stages"),
    ("resnet18", '{"widths": 8}', r"expected a list of whole numbers"),
    ("resnet18", '{"widths": [[1], 2, 3, 4]}', r"expected a list of whole numbers"),
    ("resnet50", '{"width_per_group": 0}', r"width_per_group=0"),
    ("resnet50", '{"width_per_group": 1, "widths": [8, 16, 32, 64]}', r"has no channel"),
    ("cnn", '{"channels": [4]}', r"channels=\[4\]; expected a list of 2 whole numbers"),
    ("cnn", '{"channels": 4}', r"expected a list of 2 whole numbers"),
    ("cnn", '{"channels": "ab"}', r"channels='ab'; expected a list of 2 whole numbers"),
    ("cnn", '{"channels": [4, null]}', r"channels=\[4, None\]"),
    ("cnn", '{"channels": [4, 0]}', r"channels=\[4, 0\]; expected no number below 1"),
    ("cnn", '{"kernel_size": 2}', r"an odd kernel"),
    ("cnn", '{"pool": 0}', r"pool=0"),
    ("cnn", '{"hidden": 1000.0}', r"hidden=1000\.0; expected a whole number"),
    ("cnn", '{"batch_norm": "yes"}', r"batch_norm='yes'; expected true or false"),
    ("cnn", '{"image_size": [8]}', r"expected a whole number or a list of 2 whole numbers"),
    ("resnet9", '{"widths": [8]}', r"1 widths, 4 pools and 4 branches"),
    ("resnet9", '{"pools": [1, 1, 1, 1]}', r"expected a list of true or false"),
    ("resnet9", '{"branches": [0, -1, 0, 0]}', r"expected no number below 0"),
    ("resnet9", '{"logit_scale": 0}', r"logit_scale=0; expected a number above 0"),
    ("resnet9", '{"logit_scale": Infinity}', r"logit_scale=inf; expected a number"),
]


@pytest.mark.parametrize(("model", "options", "sentence"), BAD, ids=lambda value: str(value)[:40])
def test_a_wrong_option_is_one_sentence(model, options, sentence):
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(options).items()}
    with pytest.raises(InvalidArgument, match=sentence) as caught:
        models.create(model, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["num_classes", "in_channels", "seed", "rngs", "name", "image_size"])
def test_what_the_data_or_a_setting_decides_is_no_option(name):
    info = DatasetInfo("squares", 3, ("a", "b", "c"), (8, 8, 1))
    config = Config().replace(model="cnn", model_options={name: 5})
    with pytest.raises(
        ConfigError, match=f"{name} was given as an option of the model, but .*; leave it out"
    ):
        model_of(config, info)


def test_a_size_that_is_that_of_the_images_does_no_harm():
    """Runs of before may have it: the model is the one without it, weight for weight."""
    info = DatasetInfo("squares", 3, ("a", "b", "c"), (8, 8, 1))

    def weights_of(**options):
        config = Config().replace(model="cnn", model_options={"channels": [2, 2]} | options)
        return functional(model_of(config, info)).params

    expected = weights_of()
    # Two halvings leave 2 x 2 of 8 x 8 pixels, in 2 channels.
    assert expected["fc1.weight"].shape[0] == 8
    for size in (8, [8, 8]):
        found = weights_of(image_size=size)
        assert found.keys() == expected.keys()
        for name, value in found.items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)
    for size in (7, 16, [8, 7], [7, 8]):
        with pytest.raises(ConfigError, match="the images decide the size"):
            weights_of(image_size=size)


def test_every_default_is_a_value_that_is_accepted():
    for name in ("cnn", "resnet9", "resnet20", "preact_resnet20"):
        defaults = {
            key: item.default
            for key, item in _OPTIONS[name].items()
            if item.default is not inspect.Parameter.empty and key not in ("stem", "shortcut")
        }
        models.create(name, **defaults)
    assert set(_OPTIONS) == set(models.names())
