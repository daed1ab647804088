"""Recipes that cannot be used are one sentence, before anything is done."""

import pytest

from flaxcnn.compress import recipe
from flaxcnn.compress.recipe import Cluster, Factorise, Prune, Quantise, RecipeError, Shrink, Training


def test_steps_are_read_in_order(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(
        '{"description": "d", "steps": [{"step": "shrink", "flops": 2.1}, {"step": "finetune", "epochs": 3},'
        ' {"step": "prune", "sparsity": 0.5, "epochs": 2}, {"step": "cluster", "values": 16}]}'
    )
    assert recipe.read(path) == [Shrink(flops=2.1), Training(3), Prune(0.5, epochs=2), Cluster(16)]


def test_the_highest_value_is_taken_where_it_is_one():
    steps = [{"step": "factorise", "energy": 1}, {"step": "quantise", "bits": 8, "percentile": 100}]
    assert recipe.steps_of(steps) == [Factorise(energy=1.0), Quantise(percentile=100.0)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([{"step": "shrnk", "ratio": 0.5}], "no step 'shrnk': did you mean shrink"),
        ([{"step": "train", "epoch": 1}], "Step 1: train has no option 'epoch': did you mean epochs"),
        ([{"step": "shrink"}], "either ratio or flops"),
        ([{"step": "shrink", "ratio": 0.5, "flops": 2}], "either ratio or flops"),
        ([{"step": "shrink", "ratio": 1}], "ratio of shrink is 1; expected a number above 0 and below 1"),
        ([{"step": "shrink", "ratio": True}], "ratio of shrink is true"),
        ([{"step": "shrink", "flops": 1.0}], "expected a number above 1"),
        ([{"step": "shrink", "ratio": 0.5, "criterion": "l3"}], "expected l1 or l2 or scale or taylor"),
        ([{"step": "train", "epochs": 0}], "expected a whole number of at least 1"),
        ([{"step": "train", "epochs": 1.5}], "epochs of train is 1.5"),
        ([{"step": "prune"}], "prune needs sparsity"),
        (
            [{"step": "prune", "sparsity": 0.5}, {"step": "cluster", "values": 1}],
            "Step 2: values .* at least 2",
        ),
        ([{"step": "cluster", "values": 257}], "at most 256"),
        ([{"step": "distil"}], "distil needs teacher"),
        ([{"step": "distil", "teacher": 3}], "teacher of distil is 3; expected a text"),
        ([{"step": "distil", "teacher": "run", "weight": 1}], "above 0 and below 1"),
        ([{"step": "factorise"}], "factorise takes one of energy, rank and ratio"),
        ([{"step": "factorise", "energy": 0.9, "rank": 3}], "one of energy, rank and ratio"),
        ([{"step": "factorise", "energy": 1.5}], "energy of factorise is 1.5; .* above 0 and at most 1"),
        ([{"step": "factorise", "energy": 0}], "energy of factorise is 0; .* above 0"),
        ([{"step": "factorise", "rank": 0}], "rank of factorise is 0; expected a whole number of at least 1"),
        ([{"step": "factorise", "rank": 2.5}], "rank of factorise is 2.5; expected a whole number"),
        ([{"step": "factorise", "ratio": 1}], "ratio of factorise is 1; .* below 1"),
        ([{"step": "factorise", "rank": 2, "layer": "fc"}], "no option 'layer': did you mean layers"),
        ([{"step": "quantise", "bits": 4}], "bits of quantise is 4; expected 8"),
        ([{"step": "quantise", "activations": 1}], "activations of quantise is 1; expected true or false"),
        ([{"step": "quantise", "calibration": "mean"}], "expected percentile or minmax"),
        ([{"step": "quantise", "percentile": 101}], "above 50 and at most 100"),
        ([{"step": "distil", "teacher": "t", "hints": ["conv1"]}], "expected layers by name, such as"),
        ([{"step": "distil", "teacher": "t", "hints": {}}], "expected layers by name, such as"),
        ([{"step": "distil", "teacher": "t", "hint_weight": 0}], "hint_weight of distil is 0"),
        ([], "no steps"),
        ({"stepps": []}, "no key 'stepps': did you mean steps"),
        ("prune", "no steps"),
        ([3], "Step 1 is 3; expected an object"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_one_sentence(content, sentence):
    with pytest.raises(RecipeError, match=sentence) as raised:
        recipe.steps_of(content)
    assert "\n" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    with pytest.raises(RecipeError, match="Cannot read the recipe"):
        recipe.read(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(RecipeError, match="is not JSON"):
        recipe.read(tmp_path / "bad.json")
