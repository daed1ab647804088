"""`flaxcnn tune`: search for good settings; every trial is a run folder."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flaxcnn.train.interrupts import StopRequest
    from flaxcnn.tune.folder import Plan, StudyFolder

# As `flaxcnn.tune.folder` has them, which imports more than a parser may.
_SAMPLERS = ("tpe", "random", "qmc", "grid")
_PRUNERS = ("none", "median", "halving", "hyperband")
_METRICS = ("accuracy", "loss")
_OF_A_NEW_STUDY = (
    "space",
    "recipe",
    "config",
    "out",
    "sampler",
    "pruner",
    "metric",
    "seed",
    "storage",
    "name",
)


def add_tune(commands: Any) -> None:
    """`flaxcnn tune`."""
    command = commands.add_parser(
        "tune",
        help="search for good settings",
        description="Search for good settings: many trials, each a run folder in STUDY/trials. What was killed goes on "
        "where it was, by the same command or by --resume; several such commands work on one study together.",
    )
    command.add_argument(
        "study", nargs="?", metavar="STUDY", help="folder of a study, for --resume and --show"
    )
    command.add_argument("--resume", action="store_true", help="go on with STUDY; --trials may differ")
    command.add_argument(
        "--show", action="store_true", help="print the trials of STUDY and draw its pictures"
    )
    command.add_argument("--json", action="store_true", help="with --show: print JSON")
    command.add_argument("--space", metavar="FILE", help="JSON file of what is searched")
    command.add_argument(
        "--recipe", metavar="NAME", help="every trial starts from the settings of this recipe"
    )
    command.add_argument("--config", metavar="FILE", help="JSON file of settings; they override the recipe's")
    command.add_argument("--out", metavar="STUDY", help="folder of the study, new or of the same study")
    command.add_argument(
        "--trials", type=int, metavar="N", help="trials in all (default: 20; grid: all its points)"
    )
    command.add_argument("--workers", type=int, default=1, metavar="N", help="processes at once (default: 1)")
    command.add_argument("--sampler", choices=_SAMPLERS, help="how settings are drawn (default: tpe)")
    command.add_argument("--pruner", choices=_PRUNERS, help="which trials are stopped early (default: none)")
    command.add_argument(
        "--metric",
        choices=_METRICS,
        help="of the validation images, in a trial's best epoch (default: accuracy)",
    )
    command.add_argument("--seed", type=int, metavar="N", help="seed of the sampler (default: 0)")
    command.add_argument(
        "--storage", metavar="URL", help="database (default: SQLite, in the folder of the study)"
    )
    command.add_argument(
        "--name", metavar="NAME", help="of the study in that database (default: the folder's name)"
    )


def tune(options: argparse.Namespace, stop: "StopRequest") -> int:
    """Begin a study, go on with one, or show one; `stop` asks the workers to stop."""
    from flaxcnn.tune import errors
    from flaxcnn.tune.folder import StudyFolder

    _check(options)
    errors.optuna()
    if options.show:
        return _show(StudyFolder.open(options.study), options)
    folder = _resumed(options) if options.resume else _begun(options)
    _work(folder, options, stop)
    _print_end(folder)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raise a TuneError on flags that do not go together."""
    from flaxcnn.tune.errors import TuneError

    for name, least in (("trials", 1), ("workers", 1), ("seed", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise TuneError(f"--{name} is {value}; expected at least {least}.")
    if options.study is None:
        if options.resume or options.show:
            raise TuneError("No study was named; give its folder: flaxcnn tune STUDY --resume, or --show.")
        if missing := [name for name in ("space", "out") if getattr(options, name) is None]:
            raise TuneError(f"A new study needs --{missing[0]}; see `flaxcnn tune --help`.")
        return
    if options.resume == options.show:
        raise TuneError(
            f"The study {options.study} was named; give --resume to go on with it or --show to see it, or name a new "
            "one by --out."
        )
    if given := [name for name in _OF_A_NEW_STUDY if getattr(options, name) is not None]:
        raise TuneError(
            f"--{given[0]} was given for a study that there is; it goes on as it was begun, leave it out."
        )


def _resumed(options: argparse.Namespace) -> "StudyFolder":
    from flaxcnn.tune.folder import StudyFolder

    folder = StudyFolder.open(options.study)
    return folder if options.trials is None else folder.with_trials(options.trials)


def _begun(options: argparse.Namespace) -> "StudyFolder":
    """The folder of the study that the flags describe; all that can be wrong is found before it is made."""
    from flaxcnn.tune import samplers, storage
    from flaxcnn.tune.folder import StudyFolder

    plan = _plan(options)
    samplers.check(plan, plan.searched())
    if not (Path(options.out) / "study.json").is_file():
        _check_base(plan)
        if plan.storage is not None:
            storage.check(plan.storage)
    return StudyFolder.create(options.out, plan)


def _plan(options: argparse.Namespace) -> "Plan":
    from flaxcnn.cli import arguments
    from flaxcnn.config import fields
    from flaxcnn.train.data_paths import absolute
    from flaxcnn.tune import space
    from flaxcnn.tune.folder import Plan

    names = argparse.Namespace(recipe=options.recipe, config=options.config)
    base = absolute(arguments.config_of(names).replace(out=None))
    content = space.read(options.space)
    space.parse(content, base)
    # As the base has them: a study goes on from any folder.
    for name in content.keys() & {"data", "data_dir"}:
        if isinstance(content[name], dict):
            paths = content[name]["choices"]
            content[name] = {"choices": [absolute(base.replace(**{name: path})).get(name) for path in paths]}
        else:
            content[name] = absolute(base.replace(**{name: content[name]})).get(name)
    given = {
        name: value
        for name in ("sampler", "pruner", "metric", "seed", "trials", "storage", "name")
        if (value := getattr(options, name)) is not None
    }
    if options.sampler == "grid" and options.trials is None:
        given["trials"] = None
    if options.storage is not None:
        given.setdefault("name", Path(options.out).absolute().name)
    return Plan(base={name: base.get(name) for name in fields()}, space=content, **given)


def _check_base(plan: "Plan") -> None:
    """Raise if no trial could be trained: nothing to validate with, or no data."""
    from flaxcnn.train.loading import load_splits
    from flaxcnn.tune.composing import configuration_of
    from flaxcnn.tune.errors import TuneError

    space = plan.searched()
    shares = space.searched.get("validation_fraction")
    given = space.kept.get("validation_fraction", plan.base["validation_fraction"])
    least = given if shares is None else min(shares.options if hasattr(shares, "options") else [shares.low])
    if least <= 0:
        raise TuneError("validation_fraction is 0, so that trials cannot be compared; give a number above 0.")
    fixed = space.kept.keys() | {name for name in plan.base if name not in space.searched}
    if {"data", "data_dir", "image_size", "channels"} <= fixed:
        load_splits(configuration_of(plan.config(), space, {}))


def _work(folder: "StudyFolder", options: argparse.Namespace, stop: "StopRequest") -> None:
    from flaxcnn.tune import storage
    from flaxcnn.tune.results import in_words
    from flaxcnn.tune.worker import work
    from flaxcnn.tune.workers import together

    if options.workers == 1:
        work(folder, stop, tell=lambda outcome: print(in_words(folder, outcome), flush=True))
        return
    # Created by one process before several look for it.
    with storage.opened(folder):
        pass
    together(folder, options.workers, stop, lambda line: print(f"note: {line}", file=sys.stderr))


def _print_end(folder: "StudyFolder") -> None:
    """Bring best.json and the pictures up to date; say what was best."""
    from flaxcnn.text import printable
    from flaxcnn.train.run_folder import shell_word
    from flaxcnn.tune import results, storage

    with storage.opened(folder) as study:
        best = results.best_trial(folder, study)
        _bring_up_to_date(folder, study)
    where = printable(folder.path)
    if best is None:
        print(f"No trial was trained to its end; see: flaxcnn tune {shell_word(folder.path)} --show")
        return
    print(f"best: trial {best.number}, {results.figure(folder, best.value)}")
    print(f"train it: flaxcnn train --config {shell_word(folder.path / 'best.json')}")
    print(f"pictures: {where}/history.png, importance.png, parallel.png")


def _bring_up_to_date(folder: "StudyFolder", study: Any) -> dict[str, float]:
    """Write best.json and the pictures; return the importance of every setting."""
    from flaxcnn.tune import pictures, results
    from flaxcnn.tune.folder import alone

    space = folder.plan.searched()
    importances = results.importances(study, space, folder.plan.seed)
    with alone(folder.path):
        results.write_best(folder, study, space)
    pictures.write(
        folder.path,
        results.rows(folder, study, space),
        space.searched,
        importances,
        folder.plan.figure().replace("_", " "),
        more_is_better=folder.plan.direction() == "maximize",
    )
    return importances


def _show(folder: "StudyFolder", options: argparse.Namespace) -> int:
    from flaxcnn.train.run_folder import to_json
    from flaxcnn.tune import results, storage

    with storage.opened(folder) as study:
        importances = _bring_up_to_date(folder, study)
        rows = results.rows(folder, study, folder.plan.searched())
        best = results.best_trial(folder, study)
    number = None if best is None else best.number
    if options.json:
        print(to_json({"best": number, "importances": importances, "trials": rows}), end="")
        return 0
    _print_table(folder, rows, number)
    if importances:
        print("importance: " + ", ".join(f"{name} {share:.2f}" for name, share in importances.items()))
    return 0


def _print_table(folder: "StudyFolder", rows: list[dict[str, Any]], best: int | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from flaxcnn.text import printable

    names = list(folder.plan.searched().searched)
    title = Text(f"{printable(folder.path)}: {folder.plan.sampler}, {folder.plan.figure().replace('_', ' ')}")
    table = Table(title=title, title_justify="left")
    for name in ("trial", "state", "value", "epochs"):
        table.add_column(name, no_wrap=True)
    for name in names:
        table.add_column(name.rpartition(".")[2], overflow="fold")
    for row in rows:
        mark = " (best)" if row["number"] == best else ""
        value = "" if row["value"] is None else f"{row['value']:.4f}"
        params = [_short(row["params"].get(name)) for name in names]
        cells = [f"{row['number']}{mark}", row["state"], value, str(row["epochs"]), *params]
        table.add_row(*(Text(cell) for cell in cells))
    Console(markup=False, emoji=False, highlight=False).print(table)
    for row in rows:
        if row["why"]:
            print(f"trial {row['number']} {row['state']}: {row['why']}")


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
