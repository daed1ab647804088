"""The study of mutants: the cases that reach them, the order of trials, the kept findings, and the tables."""

import sys

import pytest

from experiments import record
from experiments.instrument import mutation_power
from experiments.instrument import mutation_study as mutation
from experiments.instrument.mutation import find, known, reach, study, unit_tests
from parity.suites import all_cases
from parity.suites.core import CORE

CASES = {case.name: case for case in all_cases()}


def named(file, function, what):
    """The first mutant of that description."""
    wanted = (file, function, what)
    return next(m for m in find.all_mutants() if (m.file, m.function, m.what) == wanted)


@pytest.fixture
def mutant():
    return named("flaxcnn/ops/dense.py", "dense", "is -> is not")


def test_a_case_runs_the_lines_it_needs_and_no_others():
    watching = sys.gettrace()
    # Dropout in evaluation mode: the layer gives back what it is given.
    measured = reach.measure(CASES["dropout-01"])
    assert sys.gettrace() is watching
    assert measured.result == "equivalent"
    file, function = "flaxcnn/models/layers.py", "Dropout.__call__"
    assert set(measured.lines) == {file}
    assert measured.sees(named(file, function, "drop not"))
    assert not measured.sees(named(file, function, "True -> False")), "where it calls the op"
    assert not measured.sees(named("flaxcnn/ops/dropout.py", "dropout", "drop not"))


def reached(**lines):
    return {
        name: reach.Reach(name, "equivalent", 1.0, {"flaxcnn/ops/dense.py": numbers}, {})
        for name, numbers in lines.items()
    }


def test_cases_of_every_kind_are_tried_and_none_that_cannot_see_it(mutant):
    cases = [case for case in CASES.values() if case.group == "dense"]
    numbers = range(len(cases))
    seen = {f"dense-{n + 1:02d}": [mutant.line] if n < 8 else [1] for n in numbers}
    chosen = study.candidates(mutant, cases, reached(**seen), 0, 6)
    assert len(chosen) == 6
    assert {case.name for case in chosen} <= {name for name, lines in seen.items() if lines != [1]}
    assert chosen[0].name == "dense-04", "the core's is the first"
    hands = ["by hand" in case.detail for case in chosen[1:]]
    assert hands in ([True, False, True, False, True], [False, True, False, True, False])


def test_a_finding_is_kept_and_a_survivor_meets_only_cases_it_has_not_met(tmp_path, monkeypatch, mutant):
    cases = [case for case in CASES.values() if case.group == "dense"]
    lines = reached(**{case.name: [mutant.line] for case in cases})
    ran = []

    def run(result):
        monkeypatch.setattr(study, "_run", lambda case: ran.append(case.name) or (result, ""))

    run("equivalent")
    ((first, fresh),) = study.study([mutant], cases, lines, tmp_path, most=3)
    assert (first.verdict, first.tried, fresh) == ("survived", ran, True)
    ((again, fresh),) = study.study([mutant], cases, lines, tmp_path, most=3)
    assert (again, fresh, len(ran)) == (first, False, 3)
    run("divergent")
    ((more, fresh),) = study.study([mutant], cases, lines, tmp_path, most=4)
    assert (more.verdict, more.result, more.case, fresh) == ("caught", "divergent", ran[3], True)
    assert more.tried == ran
    assert len(set(ran)) == 4
    assert not list(tmp_path.glob("*.running"))


def test_a_mutant_that_ends_the_process_is_caught_by_that(tmp_path, mutant):
    study.path_of(mutant, tmp_path).with_suffix(".running").write_text(str(study.ATTEMPTS))
    cases = [CASES["dense-01"]]
    ((finding, _),) = study.study([mutant], cases, reached(**{"dense-01": [mutant.line]}), tmp_path)
    assert (finding.verdict, finding.result) == ("caught", "crashed")


def test_a_mutant_that_raises_or_that_no_case_runs(monkeypatch, mutant):
    assert study.examine(mutant, []).verdict == "unreached"

    def broken(case):
        raise TypeError("of a tuple")

    monkeypatch.setattr(study, "run_case", broken)
    finding = study.examine(mutant, [CASES["dense-01"]])
    assert (finding.verdict, finding.result, finding.sentence) == (
        "caught",
        "raised",
        "TypeError: of a tuple",
    )


def test_what_is_known_of_mutants_names_mutants_that_exist():
    every = find.all_mutants()
    for table in (known.EQUIVALENT, known.UNSEEN):
        for key, reason in table.items():
            assert sum(key.names(mutant) for mutant in every) == 1, key
            assert reason.endswith(".")


def finding(mutant, verdict="caught", **options):
    given = {
        "case": "dense-01",
        "result": "divergent",
        "sentence": "",
        "tried": ["dense-01"],
        "seconds": 2.0,
        "day": "2026-01-02",
    } | options
    return study.Finding(mutant, "", verdict, **given)


def test_the_record_counts_and_the_tables_show(tmp_path, monkeypatch, mutant):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    other = named("flaxcnn/ops/cpu/taps.py", "taps", "+ -> -")
    third = named("flaxcnn/ops/dropout.py", "dropout_mask", ">= -> >")
    key = known.Key(other.file, other.function, other.text, other.what)
    monkeypatch.setitem(known.EQUIVALENT, key, "It adds nothing.")
    findings = [
        finding(mutant),
        finding(other, "survived", case="", result=""),
        finding(third, "unreached", case="", result="", tried=[]),
    ]
    figures = mutation.figures(findings)
    assert figures["all"] == {"caught": 1, "equivalent": 1, "survived": 0, "unreached": 1}
    assert mutation.caught(findings) == [{"name": mutant.name, "case": "dense-01", "result": "divergent"}]
    assert figures["wrongly_equivalent"] == []
    record.write(mutation.NAME, mutation.COMMAND, {"mutants": 9} | figures)
    assert "| `flaxcnn/ops/dense.py` | 1 | 1 | 0 | 0 | 0 | 100.0% |" in mutation.files_table()
    assert "| `all` | 3 | 1 | 1 | 0 | 1 | 50.0% |" in mutation.files_table()
    assert "3 of 9 mutants were examined (3 on 2026-01-02)" in mutation.files_table()
    assert "| `comparison` |" in mutation.families_table()
    survivors = mutation.survivors_table()
    assert "equivalent | It adds nothing. |" in survivors
    assert f"`{third.file}:{third.line}`, `dropout_mask`" in survivors
    assert "no case runs it" in survivors


def test_a_mutant_wrongly_called_no_defect_is_said_to_be(monkeypatch, mutant):
    key = known.Key(mutant.file, mutant.function, mutant.text, mutant.what)
    monkeypatch.setitem(known.EQUIVALENT, key, "It does nothing.")
    figures = mutation.figures([finding(mutant)])
    assert figures["wrongly_equivalent"] == [mutant.name]
    assert figures["all"]["caught"] == 1


def test_mutants_are_chosen_by_pattern_and_drawn_by_seed():
    every = find.all_mutants()
    dense = mutation.choose(every, ["flaxcnn/ops/dense.py*"], None, 0)
    assert {mutant.file for mutant in dense} == {"flaxcnn/ops/dense.py"}
    drawn = mutation.choose(every, [], 20, 0)
    assert drawn == mutation.choose(every, [], 20, 0) != mutation.choose(every, [], 20, 1)
    assert len(set(drawn)) == 20
    assert mutation.choose(dense, [], 10_000, 0) == dense


def test_a_study_measures_examines_stores_and_goes_on(tmp_path, monkeypatch, capsys, mutant):
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(mutation, "KEPT", tmp_path)
    monkeypatch.setattr(mutation, "studied", lambda cases: [CASES["dense-01"]])
    programs = mutation.jax.config.jax_compilation_cache_dir
    arguments = ["mutation", f"{mutant.file}:dense:*:is -> is not"]
    monkeypatch.setattr(mutation.sys, "argv", arguments)
    assert mutation.main() == 0
    shown = capsys.readouterr().out
    assert "measured dense-01: equivalent" in shown
    assert "1/1 caught by dense-01" in shown
    assert list((tmp_path / "programs").iterdir())
    assert mutation.jax.config.jax_compilation_cache_dir == programs
    monkeypatch.setattr(study, "examine", None)
    assert mutation.main() == 0
    assert "1/1" not in capsys.readouterr().out
    assert record.read("mutation")["all"]["caught"] == 1
    monkeypatch.setattr(mutation.sys, "argv", ["mutation", "no_such_file"])
    assert mutation.main() == 2
    assert "No mutant is called no_such_file" in capsys.readouterr().err


def test_cases_are_chosen_by_name_or_as_the_core():
    cases = list(CASES.values())
    assert mutation.among(cases, []) == cases
    assert {case.name for case in mutation.among(cases, ["core"])} == set(CORE)
    names = [case.name for case in mutation.among(cases, ["core", "dense"])]
    assert len(names) == len(set(names)) == len(CORE) + 23


def test_a_part_of_strictness_is_no_defect():
    strict = [m for m in find.all_mutants() if "length: it guards" in known.equivalent_because(m)]
    assert strict
    assert all("strict=True" in m.text and m.what == "True -> False" for m in strict)


def test_every_file_is_mirrored_by_tests_that_exist():
    for file in find.FILES:
        tests = unit_tests.tests_of(file)
        assert tests, file
        assert all((find.ROOT / test).exists() for test in tests), file
    assert unit_tests.tests_of("flaxcnn/ops/cpu/winograd.py")[0] == "tests/flaxcnn/ops/cpu/test_fast_rules.py"


@pytest.mark.drawn
def test_the_tests_of_a_file_turn_red_with_a_defect_in_it_and_not_without(monkeypatch):
    default = named("flaxcnn/ops/geometry.py", "pooling_axes", "False -> True")
    monkeypatch.setattr(unit_tests, "tests_of", lambda file: ["tests/flaxcnn/ops/test_defaults.py"])
    assert unit_tests.turns_red(default)
    assert not unit_tests.turns_red(named("flaxcnn/ops/dense.py", "dense", "is -> is not"))


def caught(name, **options):
    return mutation_power.Caught(name, "", **{"core": "", "unit": False, "other": ""} | options)


def test_the_power_is_told_of_all_the_tests_and_of_those_that_always_run(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    catches = [
        caught("a", core="dense-04"),
        caught("b", core="dense-04"),
        caught("c", unit=True),
        caught("d", other="dense-02"),
        caught("e"),
    ]
    figures = mutation_power.figures(catches, {"dense-04": 1.25, "conv-03": 2.5})
    assert figures["caught_by"] == {"dense-04": 2}
    assert figures["others"] == {"c": "its own tests", "d": "dense-02", "e": "nothing"}
    record.write(mutation_power.NAME, mutation_power.COMMAND, {"seed": 0, "known": 9} | figures)
    table = mutation_power.power_table()
    assert "| `make exhaustive` | 4 | 80.0% |" in table
    assert "| `make test`, whatever is drawn | 3 | 60.0% |" in table
    assert "| of that the cases of the core | 2 | 40.0% |" in table
    assert "5 of 9 caught defects, drawn with seed 0; the core takes 4 s of a processor" in table


def test_what_the_core_does_not_catch_is_for_the_tests_of_the_file(tmp_path, monkeypatch, mutant):
    cases = [CASES["dense-04"]]
    seen, asked = reached(**{"dense-04": [mutant.line]}), []
    monkeypatch.setattr(mutation_power, "turns_red", lambda mutant: asked.append(mutant) or True)
    monkeypatch.setattr(study, "_run", lambda case: ("divergent", ""))
    assert mutation_power.power(mutant, cases, seen, tmp_path / "a").core == "dense-04"
    assert not asked
    monkeypatch.setattr(study, "_run", lambda case: ("equivalent", ""))
    caught = mutation_power.power(mutant, cases, seen, tmp_path / "b")
    assert (caught.core, caught.unit) == ("", True)
    assert asked == [mutant]
    assert mutation_power.power(mutant, cases, seen, tmp_path / "b") == caught
    assert len(asked) == 1, "it is kept"
