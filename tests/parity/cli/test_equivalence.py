"""`parity equivalence`, with commands that answer at once: exit codes, resuming, one sentence for every failure."""

import json
import sys

import pytest

# As a training program would: words on both streams, the accuracy last. Keeps a list of what was run.
FAKE = """
import json, random, sys
base, seed = float(sys.argv[1]), int(sys.argv[2])
accuracy = base + random.Random(f"{base} {seed}").uniform(-0.004, 0.004)
open("runs.txt", "a").write(f"{base} {seed}\\n")
print("epoch 1: 0.5"); print("warning", file=sys.stderr)
if "--fail-at" in sys.argv and seed == int(sys.argv[-1]) and not __import__("os").path.exists("repaired"):
    sys.exit("out of memory")
print(json.dumps({"accuracy": accuracy}) if base > 0.5 else accuracy)
"""


@pytest.fixture
def fake(folder):
    """`fake(0.98)` is a command whose accuracies lie about 0.98."""
    (folder / "fake.py").write_text(FAKE)
    return lambda base, *more: " ".join([sys.executable, "fake.py", str(base), "{seed}", *map(str, more)])


def runs(folder):
    path = folder / "runs.txt"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(
    ("flax", "seeds", "margin", "code", "word"),
    [
        (0.981, 5, 0.01, 0, "EQUIVALENT"),
        (0.30, 3, 0.01, 1, "DIFFERENT"),
        (0.981, 3, 0.001, 3, "INCONCLUSIVE"),
    ],
)
def test_the_exit_code_is_the_verdict(run, fake, flax, seeds, margin, code, word):
    flags = ("--seeds", str(seeds), "--margin", str(margin))
    found, out, err = run("equivalence", "--torch", fake(0.98), "--flax", fake(flax), *flags)
    assert (found, err) == (code, "") and f"\n{word}: " in out
    assert f"n = {seeds}" in out and "flax  seed 1: " in out and "seeds a side give 80%" in out


def test_runs_are_kept_and_not_made_again(run, folder, fake):
    command = ("equivalence", "--torch", fake(0.98), "--flax", fake(0.981), "--out", "kept")
    assert run(*command, "--seeds", "3")[0] == 0
    assert runs(folder) == [f"{base} {seed}" for seed in range(3) for base in (0.98, 0.981)]
    first = json.loads((folder / "kept" / "equivalence.json").read_text())
    assert run(*command, "--seeds", "5")[0] == 0
    assert runs(folder)[6:] == [f"{base} {seed}" for seed in (3, 4) for base in (0.98, 0.981)]
    second = json.loads((folder / "kept" / "equivalence.json").read_text())
    for side in ("torch", "flax"):
        assert second["accuracies"][side][:3] == first["accuracies"][side]
    assert second["result"]["verdict"] == "equivalent" and second["result"]["torch"]["n"] == 5


def test_a_failing_run_is_named_and_the_runs_before_it_are_kept(run, folder, fake):
    command = ("equivalence", "--torch", fake(0.98), "--flax", fake(0.981, "--fail-at", 1), "--out", "kept")
    code, out, err = run(*command, "--seeds", "3")
    assert code == 2 and "EQUIVALENT" not in out
    assert err == "parity: The flax command failed at seed 1 (exit code 1): out of memory\n"
    (folder / "repaired").touch()
    assert run(*command, "--seeds", "3")[0] == 0
    assert len(runs(folder)) == 4 + 3, "three of the runs before the failure and it again, then the rest"


def test_kept_runs_of_another_command_are_not_mixed_in(run, folder, fake):
    assert (
        run("equivalence", "--torch", fake(0.98), "--flax", fake(0.981), "--seeds", "2", "--out", "kept")[0]
        != 2
    )
    code, _, err = run(
        "equivalence", "--torch", fake(0.97), "--flax", fake(0.981), "--seeds", "2", "--out", "kept"
    )
    assert code == 2 and "holds the result of another command" in err and err.count("\n") == 1
    (folder / "kept" / "torch-seed-0.json").write_text('{"side": "tor')
    code, _, err = run(
        "equivalence", "--torch", fake(0.98), "--flax", fake(0.981), "--seeds", "2", "--out", "kept"
    )
    assert code == 2 and "torch-seed-0.json is damaged" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ("echo 98.6%", "printed '98.6%' at the end"),
        ("echo 98.6", "printed '98.6' at the end"),
        ("echo nan", "printed 'nan' at the end"),
        ("true", "printed nothing at the end"),
        ("""echo '{"loss": 1.0}'""", "a number from 0 to 1, or JSON"),
        ("""echo '{"accuracy": true}'""", "a number from 0 to 1, or JSON"),
        ("""echo '[1, 2]'""", "a number from 0 to 1, or JSON"),
        ("kill -9 $$", "failed at seed 0 (SIGKILL)"),
        ("exit 3", "(exit code 3): it said nothing on standard error"),
    ],
)
def test_a_run_without_an_accuracy_is_refused(run, folder, fake, last, words):
    (folder / "last.sh").write_text(last)
    code, _, err = run("equivalence", "--torch", "sh last.sh {seed}", "--flax", fake(0.98), "--seeds", "2")
    assert (
        code == 2 and words in err and err.startswith("parity: The torch command ") and err.count("\n") == 1
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--torch", "echo 0.98"), "has no {seed}"),
        (("--torch", ""), "is empty"),
        (("--torch", "echo '{seed}"), "cannot be read"),
        (("--torch", "no-such-program {seed}"), "cannot be started (No such file or directory)"),
        (("--seeds", "1"), "--seeds is 1; at least two"),
        (("--margin", "0"), "The margin is 0"),
        (("--margin", "x"), "invalid float value"),
        (("--alpha", "0.7"), "alpha is 0.7"),
        (("--out", "fake.py"), "--out fake.py cannot be written"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_trained(run, folder, fake, flags, words):
    code, out, err = run("equivalence", "--torch", fake(0.98), "--flax", fake(0.98), *flags)
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1
    assert runs(folder) == []


def test_equal_runs_at_every_seed_are_refused(run, folder):
    code, _, err = run(
        "equivalence", "--torch", "echo 0.98 {seed}", "--flax", "echo 0.98 {seed}", "--seeds", "2"
    )
    assert code == 2, "two numbers are not one"
    (folder / "constant.sh").write_text("echo 0.98")
    command = "sh constant.sh {seed}"
    code, _, err = run("equivalence", "--torch", command, "--flax", command, "--seeds", "2")
    assert code == 2 and "see that both commands use their seed" in err
