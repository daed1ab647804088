"""The study of hidden differences: what it plants, when a plant counts, how it goes on after an interruption."""

import dataclasses
import itertools

import numpy as np
import pytest

from experiments.instrument import hidden_study
from experiments.instrument.defects.graph import walk
from experiments.instrument.defects.hosts import HOSTS
from experiments.instrument.hidden import running, table
from experiments.instrument.hidden.candidates import DIFFERENCES, KINDS, SOURCES, candidates
from experiments.instrument.hidden.evaluate import Result, Said, evaluate
from experiments.instrument.hidden.sites import sites
from experiments.instrument.hidden.summary import Counts, summarised
from parity.errors import TraceError

DIVERGENT, EQUIVALENT = (
    Said("divergent", "conv1 -> fc", "divergent: ..."),
    Said("equivalent", "", "equivalent: ..."),
)


def result(name="range/a", kind="range", plain=EQUIVALENT, said=DIVERGENT, **more):
    rest = {"strict": said, "structural": False, "locations": ("-> fc",), "seconds": 2.0} | more
    return Result(name, kind, "generated", "h", "nnx", "d", "conv1", plain=plain, said=said, **rest)


def test_sites_know_shapes_shortcuts_and_what_takes_other_sizes():
    graph = HOSTS["resnet"].graph()
    found = {site.path: site for site in sites(graph, [np.zeros((4, 3, 12, 12), np.float32)])}
    assert set(found) == {path for path, node in walk(graph) if node.kind != "block"}
    stem, inner, fc = found["stem"], found["block1.conv1"], found["fc"]
    assert (stem.given, stem.shape, stem.alone, stem.is_image) == ((4, 3, 12, 12), (4, 8, 12, 12), True, True)
    assert not inner.alone and fc.is_vector and all(site.resizable for site in found.values())


@pytest.mark.parametrize("kind", KINDS)
def test_each_difference_is_planted_in_both_sources_and_the_same_again(kind):
    for source in SOURCES:
        some = list(itertools.islice(candidates(kind, source, 0), len(DIFFERENCES[kind])))
        again = list(itertools.islice(candidates(kind, source, 0), len(some)))
        assert [c.name for c in some] == [c.name for c in again]
        assert len({c.difference.name for c in some}) >= len(DIFFERENCES[kind]) - 3
        assert all((c.host in HOSTS) == (source == "benchmark") for c in some)
        assert {c.style for c in some} == {"nnx", "linen"}
        assert all(c.graphs.locations for c in some)


def candidate(words, kind="range"):
    return next(c for c in candidates(kind, "benchmark", 0) if words in c.difference.name)


@pytest.mark.slow
def test_a_hidden_plant_is_found_at_its_place():
    found = evaluate(candidate("ReLU; ReLU6"), 0)
    assert found.plain.verdict == "equivalent" and found.hidden and found.located and not found.unproven


@pytest.mark.slow
def test_a_pair_that_its_input_alone_tells_apart_does_not_count():
    c = candidate("clamp to 20; none")
    louder = dataclasses.replace(c, inputs=[100 * x for x in c.inputs])
    shown = evaluate(louder, 0)
    assert shown.plain.verdict == "divergent" and not shown.hidden and not shown.found


def test_what_counts_as_hidden_found_and_located():
    assert result().hidden and result().located
    assert not result(plain=DIVERGENT).hidden and result(plain=DIVERGENT, structural=True).hidden
    assert result(locations=("-> conv9",)).found and not result(locations=("-> conv9",)).located
    kink = result(kind="kink", said=EQUIVALENT, strict=DIVERGENT)
    assert kink.found and not kink.remarked and not result(said=EQUIVALENT).found
    withheld = result(said=Said("inconclusive", "", "...", ("conv1 -> fc",)))
    assert withheld.unproven and withheld.remarked and not withheld.found


def test_the_study_stops_at_enough_hidden_plants_and_goes_on_where_it_was(tmp_path, monkeypatch):
    run = []

    def evaluated(c, seed):
        run.append(c.name)
        return result(c.name, c.kind, plain=DIVERGENT if len(run) == 1 else EQUIVALENT)

    monkeypatch.setattr(running, "evaluate", evaluated)
    monkeypatch.setattr(running, "prepare", lambda: None)
    monkeypatch.setattr(running, "evaluate_clean", lambda n, seed: result(f"clean/{n}", "", said=EQUIVALENT))
    results = hidden_study.study(2, 3, 0, tmp_path)
    plants = [r for r in results if r.kind]
    assert sum(r.hidden for r in plants) == 2 * len(KINDS) and len(plants) == 2 * len(KINDS) + 1
    assert [r.name for r in results if not r.kind] == ["clean/0", "clean/1", "clean/2"]
    run.clear()
    assert hidden_study.study(2, 3, 0, tmp_path) == results and not run
    next(tmp_path.glob("clean-*.json")).unlink()
    kept = hidden_study.study(2, 3, 0, tmp_path, only_kept=True)
    assert len(kept) < len(results) and not run
    next(tmp_path.glob("range-*.json")).write_text("{}")
    with pytest.raises(TraceError, match="made again"):
        hidden_study.study(2, 3, 0, tmp_path)


def test_the_summary_counts_plants_alarms_and_misses():
    results = [
        result(),
        result("range/b", plain=DIVERGENT),
        result("range/c", said=EQUIVALENT),
        result("range/d", locations=("-> conv9",)),
        result("clean/0", "", said=EQUIVALENT),
        result("clean/1", "", said=DIVERGENT),
    ]
    found = summarised(results)
    assert found.all == Counts(3, 0, 2, 1, 0, 0, 1, 2.0) == found.kinds["range"]
    assert (found.alarms.hits, found.alarms.trials, found.strict) == (1, 2, 1)
    assert [(m.name, m.how) for m in found.missed] == [
        ("range/c", "not found"),
        ("range/d", "elsewhere"),
        ("clean/1", "divergent"),
    ]
    assert "3 planted differences" in table.totals(found)[0] and "1 false alarms" in table.totals(found)[1]
    header, body = table.differences(found)
    assert body == [["range", "d", "3", "66.7% (2)", "33.3% (1)", "0", "0", "1"]] and len(header) == len(
        body[0]
    )
    assert table.line(results[1]).endswith("divergent on its input alone, discarded")
