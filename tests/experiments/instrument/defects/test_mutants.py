"""The enumeration: complete, deterministic, spread over ids; the locations it expects; the generator."""

import collections

import numpy as np
import pytest
import torch

from experiments.instrument.defects.generator import clean_pair
from experiments.instrument.defects.graph import destinations, walk
from experiments.instrument.defects.hosts import HOSTS
from experiments.instrument.defects.mutants import NOT_EXPRESSIBLE, all_mutants, draw, expressible, plant_of
from experiments.instrument.defects.torch_side import TorchGraph
from parity.verdict.catalogue import DEFECTS


def test_every_id_of_the_catalogue_is_planted_or_said_to_be_inexpressible():
    planted = {mutant.id for mutant in all_mutants()}
    assert planted == set(expressible())
    assert planted | set(NOT_EXPRESSIBLE) == set(DEFECTS)
    assert not planted & set(NOT_EXPRESSIBLE)


def test_names_are_unique_and_there_are_enough():
    names = [mutant.name for mutant in all_mutants()]
    assert len(set(names)) == len(names) > 2000


def test_a_draw_is_the_same_by_seed_and_grows_without_changing():
    short, long = draw(60, 3), draw(400, 3)
    assert long[:60] == short == draw(60, 3)
    assert draw(60, 4) != short
    assert len({mutant.name for mutant in long}) == 400


def test_a_draw_covers_every_id_as_equally_as_it_can():
    available = collections.Counter(mutant.id for mutant in all_mutants())
    counts = collections.Counter(mutant.id for mutant in draw(400, 0))
    full = max(counts.values())
    assert all(counts[id] >= min(full - 1, available[id]) for id in available)
    for field in ("host", "style", "depth"):
        assert min(collections.Counter(getattr(m, field) for m in draw(400, 0)).values()) >= 10


def test_a_mutant_is_found_again_and_changes_its_own_node_only():
    mutant = next(m for m in all_mutants() if m.host == "bottleneck" and m.id == "padding-same-vs-symmetric")
    host, plant = plant_of(mutant)
    before = {path: node.options for path, node in walk(host.graph()) if node.kind != "block"}
    after = {path: node.options for path, node in walk(plant.graph) if node.kind != "block"}
    assert [path for path in before if before[path] != after[path]] == [mutant.path]
    assert after[mutant.path]["padding"] == "SAME"
    assert mutant.locations == (mutant.path,)


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("resnet", "block1.sum", {"block1"}),
        ("resnet", "max_pool_3", {"block1.conv1", "block1"}),
        ("bottleneck", "block2.activation_2", {"block2.conv2"}),
        ("mobilenet", "block1.gated", {"block1.project"}),
        ("unet", "joined1", {"up1"}),
        ("densenet", "sum", {"output"}),
    ],
)
def test_the_segment_in_which_a_function_shows(host, path, expected):
    assert destinations(HOSTS[host].graph(), path) == expected


def test_a_clean_pair_is_the_same_by_number_and_differs_between_numbers():
    def plain(number, seed):
        return [(path, node.kind) for path, node in walk(clean_pair(number, seed).graph)]

    assert plain(5, 0) == plain(5, 0)
    assert len({str(plain(number, 0)) for number in range(40)}) > 35
    assert plain(5, 1) != plain(5, 0)


@pytest.mark.slow
def test_a_thousand_clean_pairs_can_be_drawn_and_run_in_pytorch():
    kinds = collections.Counter()
    for number in range(0, 1000, 10):
        pair = clean_pair(number, 0)
        output = TorchGraph(pair.graph).eval()(*map(torch.from_numpy, pair.inputs))
        assert output.ndim == 2
        assert np.isfinite(output.detach().numpy()).all()
        kinds.update(node.kind for _, node in walk(pair.graph))
    wanted = {
        "conv",
        "conv_transpose",
        "linear",
        "batch_norm",
        "group_norm",
        "layer_norm",
        "dropout",
        "block",
    }
    assert wanted | {"add", "concat", "max_pool", "avg_pool", "resize", "flatten", "scale"} <= set(kinds)
