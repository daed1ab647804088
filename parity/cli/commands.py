"""What each subcommand does; each returns its exit code."""

import argparse
import contextlib
import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from parity.cli.equivalence import equivalence
from parity.cli.folders import writable_folder
from parity.cli.train import train
from parity.errors import CannotCompare, TraceError
from parity.report import junit, terminal
from parity.verdict.catalogue import check_ids
from parity.verdict.judge import judge
from parity.verdict.policy import Policy
from parity.verdict.record import Measurements, Report

EXIT_CODES = {"equivalent": 0, "divergent": 1, "inconclusive": 3}
PAGE_FILE = "report.html"


def check(options: argparse.Namespace) -> int:
    """Compare two models. What can be refused without running them is refused first."""
    import parity
    from flaxcnn.train.compiling import use_compilation_cache
    from parity.cli.inputs import read_map, requested_inputs, settings_of

    accept, policy = check_ids(options.accept), _policy(Policy(), options)
    captured = Path(options.torch).is_dir()
    inputs = requested_inputs(options.input, options.data, options.seed)
    if inputs is None and not captured:
        raise CannotCompare("There is no input: give --input SHAPE, such as 4x3x32x32, or --data FILE.")
    names = read_map(options.map)
    for path in (options.html, options.junit):
        _check_file(path)
    use_compilation_cache()
    with _folder(options.out) as directory:
        report = parity.check(
            options.torch if captured else _torch_model(options),
            _flax_model(options),
            inputs,
            mode=options.mode,
            seed=options.seed,
            map=names,
            accept=accept,
            out=directory if options.out or options.html else None,
            policy=policy,
            probes=options.probes == "all",
            sizes=options.sizes,
            objective=options.objective,
            perturb=options.perturb,
            flax_train=settings_of(options.flax_train, "--flax-train"),
            flax_eval=settings_of(options.flax_eval, "--flax-eval"),
            output=options.output,
            redraw=None if captured else lambda seed: (_torch_model(options, seed), _flax_model(options)),
        )
        page = Path(options.out) / PAGE_FILE if options.out else None
        _render(report, directory, options, page)
    if options.out:
        print(f"Kept in {options.out}: open {Path(options.out) / PAGE_FILE}, or `parity show {options.out}`.")
    return EXIT_CODES[report.verdict]


def capture(options: argparse.Namespace) -> int:
    """Record the PyTorch side into a folder."""
    import parity
    from parity.cli.inputs import requested_inputs

    inputs = requested_inputs(options.input, options.data, options.seed)
    if inputs is None:
        raise CannotCompare("There is no input: give --input SHAPE, such as 4x3x32x32, or --data FILE.")
    with _folder(options.out) as directory:
        parity.capture_reference(
            _torch_model(options),
            inputs,
            directory,
            mode=options.mode,
            seed=options.seed,
            objective=options.objective,
            perturb=options.perturb,
        )
    print(
        f"Captured in {options.out}: compare with `parity check --torch {options.out} --flax MODULE:CALLABLE`."
    )
    return 0


def show(options: argparse.Namespace) -> int:
    """Judge saved measurements again and render them."""
    directory = Path(options.directory)
    if not directory.is_dir():
        raise TraceError(f"There is no folder {directory}: give one that `parity check --out` wrote.")
    measurements, saved = Measurements.load(directory), Report.load(directory)
    accept = check_ids([*(cause.id for cause in saved.accepted), *options.accept])
    report = judge(measurements, _policy(Policy.of(saved.policy), options), accept)
    _render(report, directory, options, None)
    return EXIT_CODES[report.verdict]


def convert(options: argparse.Namespace) -> int:
    """Convert weights."""
    from parity.convert import convert as run

    done = run(
        options.source,
        options.destination,
        model=options.model,
        options=dict(options.option),
        checkpoint=options.checkpoint,
    )
    print(done.summary())
    return 0


def suite(options: argparse.Namespace) -> int:
    """Run our own cases."""
    from flaxcnn.train.compiling import use_compilation_cache
    from parity import suites

    use_compilation_cache()
    return int(suites.run(options.names, out=options.out))


def explain(options: argparse.Namespace) -> int:
    """Explain an id, or list all."""
    from parity.verdict.explain import explained, listed

    print(explained(options.id) if options.id else listed())
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "check": check,
    "capture": capture,
    "show": show,
    "convert": convert,
    "suite": suite,
    "train": train,
    "equivalence": equivalence,
    "explain": explain,
}


def _policy(policy: Policy, options: argparse.Namespace) -> Policy:
    if options.kinks is not None:
        policy = dataclasses.replace(policy, strict_kinks=options.kinks == "strict")
    if options.init is not None:
        policy = dataclasses.replace(policy, strict_start=options.init == "strict")
    safety = options.safety
    if safety is None:
        return policy
    if not (safety > 0 and math.isfinite(safety)):
        raise CannotCompare(
            f"--safety {safety:g} is not a positive number; the default is {policy.safety_factor:g}."
        )
    return dataclasses.replace(policy, safety_factor=safety)


def _torch_model(options: argparse.Namespace, seed: int | None = None) -> object:
    from parity.cli.factories import build_torch

    return build_torch(options.torch, options.seed if seed is None else seed)


def _flax_model(options: argparse.Namespace) -> object:
    from parity.cli.factories import build_flax

    return build_flax(options.flax)


@contextlib.contextmanager
def _folder(path: str | None) -> Iterator[Path]:
    """The folder to write into, known to be writable; a passing one if the user wants none."""
    if path is None:
        with tempfile.TemporaryDirectory(prefix="parity-") as scratch:
            yield Path(scratch)
        return
    yield writable_folder(path)


def _check_file(path: str | None) -> None:
    """Refuse a report file that cannot be written before the models run, not after."""
    if path is not None and Path(path).is_dir():
        raise CannotCompare(f"{path} is a folder: give the name of a file.")


def _render(report: Report, directory: Path, options: argparse.Namespace, page: Path | None) -> None:
    """Show the report, and write the renderings that were asked for."""
    pages = [path for path in (page, options.html and Path(options.html)) if path]
    if pages:
        from parity.report import html, tensors

        pairs = tensors.load(directory)
        for path in pages:
            html.write(report, path, pairs)
    if options.junit:
        junit.write(report, options.junit)
    terminal.show(report, everything=options.all)
