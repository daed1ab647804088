"""`parity train`: its flags, and what it does."""

import argparse
import json
from pathlib import Path
from typing import Any

from parity.errors import CannotCompare

EXIT_CODES = {"equivalent": 0, "divergent": 1, "inconclusive": 3}


def add(commands: Any, models: str) -> None:
    """Add the subcommand.

    Args:
        commands: of the parser.
        models: how a factory is written, in words.
    """
    command = commands.add_parser(
        "train",
        help="train both sides in step and compare every step",
        description="Train a Flax model and its PyTorch twin from the same weights on the same batches and dropout "
        "masks, in float64 and in float32, and say how long and how closely they stay together, and why not.",
    )
    command.add_argument(
        "--torch", required=True, metavar="MODULE:CALLABLE", help=f"returns an nn.Module; {models}"
    )
    command.add_argument(
        "--flax",
        required=True,
        metavar="MODULE:CALLABLE",
        help="returns the Flax model, as for `parity check`",
    )
    command.add_argument(
        "--data", default="digits", help="data set known to flaxcnn, or an .npz file (default: digits)"
    )
    command.add_argument("--steps", type=int, default=100, help="updates (default: 100)")
    command.add_argument("--batch-size", type=int, default=32, help="images a step (default: 32)")
    command.add_argument("--optimiser", default="sgd", help="sgd, adam, adamw or rmsprop (default: sgd)")
    command.add_argument("--learning-rate", type=float, default=0.1, help="the largest (default: 0.1)")
    command.add_argument(
        "--schedule", default="cosine", help="constant, cosine, linear or one_cycle (default: cosine)"
    )
    command.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of the optimiser, as torch.optim names it: momentum=0.9, weight_decay=5e-4; may be repeated",
    )
    command.add_argument(
        "--torch-optimiser",
        metavar="MODULE:CALLABLE",
        help="instead: takes the list of parameters, returns an optimiser or (optimiser, scheduler)",
    )
    command.add_argument(
        "--flax-optimiser", metavar="MODULE:CALLABLE", help="instead: returns an optax.GradientTransformation"
    )
    command.add_argument(
        "--label-smoothing", type=float, default=0.0, help="of the cross-entropy (default: 0)"
    )
    command.add_argument("--clip-norm", type=float, help="clip the gradient to this global norm")
    command.add_argument("--seed", type=int, default=0, help="of weights, order and masks (default: 0)")
    command.add_argument("--map", metavar="FILE", help='JSON file {"torch path": "flax path"}')
    command.add_argument("--out", metavar="DIR", help="keep trajectory.json and trajectory.png here")
    command.add_argument("--traceback", action="store_true", help="show the traceback of an unforeseen error")


def train(options: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    from flaxcnn.train.compiling import use_compilation_cache
    from parity.cli.factories import build_flax, build_torch
    from parity.cli.inputs import read_map
    from parity.trajectory import picture, stream, terminal
    from parity.trajectory import train as training

    if options.steps < 1 or options.batch_size < 2:
        raise CannotCompare(
            f"--steps {options.steps} and --batch-size {options.batch_size}: give at least 1 step and 2 images."
        )
    use_compilation_cache()
    folder = _folder(options.out)
    recipe = training.Training(
        _torch_optimiser(options),
        _flax_optimiser(options),
        label_smoothing=options.label_smoothing,
        clip_norm=options.clip_norm,
    )
    names = read_map(options.map)
    trajectory = training.train(
        build_torch(options.torch, options.seed),
        build_flax(options.flax),
        stream.from_data(options.data, options.batch_size, options.seed),
        recipe,
        steps=options.steps,
        seed=options.seed,
        map=names,
    )
    print(terminal.text(trajectory))
    if folder is not None:
        trajectory.save(folder)
        picture.draw(trajectory, folder / picture.PICTURE_FILE)
        print(f"Kept in {folder}.")
    return EXIT_CODES[trajectory.verdict]


def _folder(path: str | None) -> Path | None:
    if path is None:
        return None
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotCompare(
            f"--out {path} cannot be written ({error.strerror}): give another folder."
        ) from None
    return Path(path)


def _torch_optimiser(options: argparse.Namespace) -> Any:
    from parity.cli.factories import find_callable
    from parity.trajectory.named import torch_optimiser

    if options.torch_optimiser:
        return find_callable(options.torch_optimiser, "--torch-optimiser")
    if options.flax_optimiser:
        raise CannotCompare("--flax-optimiser was given alone: give --torch-optimiser too, or neither.")
    return torch_optimiser(
        options.optimiser, options.learning_rate, options.schedule, options.steps, _options(options.option)
    )


def _flax_optimiser(options: argparse.Namespace) -> Any:
    from parity.cli.factories import find_factory
    from parity.trajectory.named import flax_optimiser

    if options.flax_optimiser:
        return find_factory(options.flax_optimiser, "--flax-optimiser")()
    if options.torch_optimiser:
        raise CannotCompare("--torch-optimiser was given alone: give --flax-optimiser too, or neither.")
    return flax_optimiser(
        options.optimiser,
        options.learning_rate,
        options.schedule,
        options.steps,
        _options(options.option),
        options.clip_norm,
    )


def _options(pairs: list[str]) -> dict[str, Any]:
    """KEY=VALUE with the value as JSON has it; a word that is no JSON stays a word."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise CannotCompare(f"--option {pair} is not KEY=VALUE; write, for example, momentum=0.9.")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = {"True": True, "False": False}.get(value, value)
    return found
