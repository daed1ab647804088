"""README, ARCHITECTURE and docs are true: links lead somewhere, printed commands and Python run as printed.

A block of ```python, ```bash or ```console runs in order with the others of its page, in one folder. A comment above it
says otherwise:

    <!-- runs: slow -->                 only in `make exhaustive`
    <!-- runs: slow, exit 1 -->         and its last command ends with 1
    <!-- not run: the reason -->        never

What does not run is still read: programs, modules, make targets and options must exist. This file, started as a
script with a page and a tier, runs the blocks of the page in one process.
"""

import ast
import importlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
# Its Python blocks are pieces of the reader's code; tests/experiments holds them against both libraries.
FRAGMENTS = {ROOT / "docs" / "how-a-port-goes-wrong.md"}
LANGUAGES = ("python", "bash", "console")

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ABOVE = re.compile(r"((?:<!-- [^\n]* -->\n)*)$")
RUNS = re.compile(r"<!-- runs: (quick|slow)(?:, exit (\d+))? -->")
NOT_RUN = re.compile(r"<!-- not run: (.*) -->")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
MODULE = re.compile(r"python -m (experiments(?:\.[a-z]\w*)+)")


class Block(NamedTuple):
    """A fenced block; `when` is "quick", "slow" or "never"."""

    line: int
    language: str
    text: str
    when: str
    exit: int


def blocks(page):
    """Give the blocks of a page that could run."""
    text = page.read_text(encoding="utf-8")
    found = []
    for fence in FENCE.finditer(text):
        if fence[1] not in LANGUAGES or page in FRAGMENTS:
            continue
        marks = ABOVE.search(text, 0, fence.start())[1]
        runs, never = RUNS.search(marks), NOT_RUN.search(marks)
        when = "never" if never else runs[1] if runs else "quick"
        expected = int(runs[2] or 0) if runs else 0
        found.append(Block(text.count("\n", 0, fence.start()) + 1, fence[1], fence[2], when, expected))
    return found


def commands(block):
    """Give the commands of a block as lists of words; of a console, the lines after `$ `."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def prose(text):
    """Give the text without its fenced blocks, whose brackets are code."""
    return FENCE.sub("", text)


def anchors(text):
    """Give the anchors of a page as GitHub makes them from its headings."""
    found, seen = set(), {}
    for heading in re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE):
        plain = re.sub(r"[`*]|\]\([^)]*\)", "", heading).strip().lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        count = seen[name] = seen.get(name, -1) + 1
        found.add(f"{name}-{count}" if count else name)
    return found


def name_of(page):
    """Give a page's path as a test's name."""
    return page.relative_to(ROOT).as_posix()


def short_options(parser_source):
    """Give the words that a script's `add_argument` calls name."""
    words = set()
    for node in ast.walk(ast.parse(parser_source)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            words |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    return words


def sources(module):
    """Give the files of a study: a module, or a package that runs by its `__main__`."""
    path = ROOT.joinpath(*module.split("."))
    if path.with_suffix(".py").is_file():
        return [path.with_suffix(".py")]
    assert (path / "__main__.py").is_file(), f"python -m {module}: there is no such module"
    return sorted(path.glob("*.py"))


def check_study(words):
    """A module of experiments exists and takes the options that are printed."""
    module, *rest = words
    known = set().union(*(short_options(path.read_text(encoding="utf-8")) for path in sources(module)))
    unknown = [word for word in rest if word.startswith("--") and word.split("=")[0] not in known]
    assert not unknown, f"python -m {module} takes no {', '.join(unknown)}"


def check_command(words):
    """A printed command exists and accepts its options; nothing is run."""
    program, *rest = words
    if program in ("flaxcnn", "parity"):
        parser = parsers()[program]
        try:
            parser.parse_args(rest)
        except SystemExit as exit:
            assert exit.code == 0, f"{shlex.join(words)}: not accepted"
    elif program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(rest) <= set(targets), shlex.join(words)
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        named = re.findall(r"\[(\w+)\]", shlex.join(words))
        assert rest[0] == "install" and set(named) <= set(extras), shlex.join(words)
    elif words[:2] == ["python", "-m"]:
        check_study(words[2:])
    elif program == "python":
        assert (EXAMPLES / rest[0]).is_file(), f"{shlex.join(words)}: no such example"
    else:
        raise AssertionError(f"{shlex.join(words)}: no program that a page may print")


def parsers():
    """Give the real parsers of the two commands."""
    # The packages bind the name `main` to the function, so the modules are asked for by name.
    return {name: importlib.import_module(f"{name}.cli.main").parser() for name in ("flaxcnn", "parity")}


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_architecture_is_one_page():
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    broken = []
    for link in LINK.findall(prose(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target.read_text(encoding="utf-8"))
        ):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_printed_command_is_accepted(page):
    for block in blocks(page):
        if block.language != "python":
            for words in commands(block):
                check_command(words)
    for module in MODULE.findall(page.read_text(encoding="utf-8")):
        sources(module)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_block_is_python(page):
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text)


def test_every_page_of_docs_is_reached_from_the_readme():
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in LINK.findall(prose(page.read_text(encoding="utf-8"))):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.is_file():
                left.append(target)
    # Kept for readers who look for an architecture among the docs.
    assert set(PAGES) - reached <= {ROOT / "docs" / "architecture.md"}


def test_every_headline_is_on_the_page_that_it_links():
    rows = re.findall(
        r"^\| .* \| \*\*(.+?)\*\* \| \[.*\]\(([^)#]+)", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert len(rows) == 6
    for figure, page in rows:
        assert figure in (ROOT / page).read_text(encoding="utf-8"), figure


def test_the_settings_are_those_of_the_configuration():
    from experiments import settings_table

    text = settings_table.PAGE.read_text(encoding="utf-8")
    assert settings_table.fill(text) == text, "run python -m experiments.settings_table"


def test_the_version_is_read_from_one_place():
    import flaxcnn
    import parity

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"] and "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "flaxcnn.__version__"}
    assert parity.__version__ == flaxcnn.__version__
    assert f"## {flaxcnn.__version__}" in (ROOT / "CHANGELOG.md").read_text().replace("[", "").replace(
        "]", ""
    )


@pytest.mark.exhaustive
def test_the_broken_port_of_the_readme_is_what_a_check_prints():
    script = [sys.executable, EXAMPLES / "broken_port.py", "--check"]
    assert subprocess.run(script, cwd=ROOT, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.when == "quick" for b in blocks(page))], ids=name_of
)
def test_quick_blocks_run(page, tmp_path):
    run_in_process_of_its_own(page, "quick", tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.when == "slow" for b in blocks(page))], ids=name_of
)
def test_every_block_runs(page, tmp_path):
    run_in_process_of_its_own(page, "slow", tmp_path)


def run_in_process_of_its_own(page, tier, folder):
    """Run a page's blocks as its reader would, without what conftest.py makes strict."""
    for example in (*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.json")):
        shutil.copy(example, folder)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, __file__, str(page), tier],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def run(page, tier):
    """Run the blocks of a page in order: quick ones, or all."""
    for block in blocks(page):
        if block.when == "never" or (tier == "quick" and block.when == "slow"):
            continue
        where = f"{name_of(page)}:{block.line}"
        print(f"--- {where}", flush=True)
        if block.language == "python":
            exec(compile(block.text, where, "exec"), {"__name__": "block"})
            continue
        codes = [run_command(words) for words in commands(block)]
        assert [code for code in codes[:-1] if code] == [] and codes[-1] == block.exit, (
            f"{where}: exit {codes}"
        )


def run_command(words):
    """Run one of the two commands, or an example, in this process; give its exit code."""
    import flaxcnn.cli
    import parity.cli

    if words[0] == "python":
        sys.argv = words[1:]
        runpy.run_path(words[1], run_name="__main__")
        return 0
    programs = {"flaxcnn": flaxcnn.cli.main, "parity": parity.cli.main}
    return programs[words[0]](words[1:])


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2])
