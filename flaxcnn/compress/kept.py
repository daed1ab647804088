"""What an interrupted compression goes on from: its last finished step, and the training in the one after it.

    .OUT.compressing/request.json      what is compressed, and by which steps
    .OUT.compressing/step-2/           the network after step 2, as a run folder without a summary
    .OUT.compressing/training-3/       the run folder of the training that step 3 makes
    .OUT.compressing/result/           the run folder that becomes OUT

Each is complete or absent: a process may be killed at any moment.
"""

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from flaxcnn.compress.recipe import Step
from flaxcnn.compress.work import Work
from flaxcnn.functional import Parameters
from flaxcnn.models import resized
from flaxcnn.models.resized import Architecture
from flaxcnn.text import printable
from flaxcnn.train.checkpoint import Checkpoints
from flaxcnn.train.position import Position
from flaxcnn.train.run_folder import RunFolder, RunFolderError, to_json, write_text

_STEP = re.compile(r"step-(\d+)")


class Kept:
    """The folder of a compression that goes on.

    Args:
        out: the run folder that is to be written; the folder is beside it.
    """

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(f".{out.name}.compressing")
        self.result = self.path / "result"

    def begin(self, source: Path, params: Parameters, steps: Sequence[Step]) -> None:
        """Make the folder, or see that it is of the same request.

        Args:
            source: the run folder that is compressed.
            params: its weights.
            steps: of the recipe.

        Raises:
            RunFolderError: it holds an interrupted compression of another network, or by another recipe.
        """
        request = {
            "run": str(source.resolve()),
            "weights": _digest(params),
            "steps": [{"step": type(step).__name__} | dataclasses.asdict(step) for step in steps],
        }
        path = self.path / "request.json"
        self.path.mkdir(parents=True, exist_ok=True)
        if path.exists() and json.loads(path.read_text()) != json.loads(to_json(request)):
            raise RunFolderError(
                f"{printable(self.path)} holds an interrupted compression of another network or by another recipe; "
                "give that one again to go on, or delete the folder, or give another --out."
            )
        write_text(path, to_json(request))

    def finished(self) -> int:
        """How many steps are finished."""
        found = [_STEP.fullmatch(path.name) for path in self.path.iterdir()]
        return max((int(match[1]) for match in found if match), default=0)

    def training(self, number: int) -> Path:
        """The folder for the training that a step makes."""
        return self.path / f"training-{number}"

    def save(self, number: int, work: Work) -> None:
        """Keep the network after a step instead of the one before it."""
        partial = self.path / ".step.partial"
        shutil.rmtree(partial, ignore_errors=True)
        folder = write_run(partial, work)
        train_state = work.final_state()
        info = {
            "position": dataclasses.asdict(work.position),
            "best": [int(jax.device_get(train_state.step))],
            "model": work.config.model.model,
        }
        Checkpoints(folder.path).save(train_state, info)
        partial.rename(self.path / f"step-{number}")
        shutil.rmtree(self.path / f"step-{number - 1}", ignore_errors=True)
        shutil.rmtree(self.training(number), ignore_errors=True)

    def load(self, number: int, begun: Work) -> Work:
        """The network after a step.

        Args:
            number: of the step.
            begun: the network before the first one.
        """
        folder = RunFolder.open(self.path / f"step-{number}")
        config = folder.config().replace(data=begun.config.data.data, data_dir=begun.config.data.data_dir)
        work = dataclasses.replace(
            begun, config=config, architecture=Architecture.of_run(folder.path), history=folder.history()
        )
        parts = work.initial()
        like = dataclasses.replace(
            work, params=parts.params, state=parts.state, train_state=None
        ).final_state()
        train_state, info = Checkpoints(folder.path).restore("last", like)
        params, state = train_state.evaluated
        return dataclasses.replace(
            work,
            params=params,
            state=state,
            position=Position(**info["position"]),
            train_state=train_state,
        )

    def delete(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)


def write_run(path: Path, work: Work, out: Path | None = None) -> RunFolder:
    """A new run folder with what is known of a network but its weights.

    Args:
        path: of the folder.
        work: the network.
        out: where it will be, if it is moved.
    """
    folder = RunFolder.create(path, work.config if out is None else work.config.replace(out=str(out)))
    if work.architecture is not None:
        write_text(path / resized.FILE, work.architecture.to_json())
    write_text(path / "metrics.jsonl", "")
    for record in work.history:
        folder.append(record)
    return folder


def _digest(params: Parameters) -> str:
    total = hashlib.sha256()
    for name, value in sorted(params.items()):
        total.update(name.encode() + np.asarray(value).tobytes())
    return total.hexdigest()
