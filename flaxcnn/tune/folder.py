"""The folder of a study: what the study is, its trials as run folders, and what came out.

study.json  study.db  trials/0000/ trials/0001/ ...  best.json  history.png  importance.png  parallel.png
"""

import contextlib
import dataclasses
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flaxcnn.config import Config
from flaxcnn.text import printable
from flaxcnn.train import lock
from flaxcnn.train.lock import LockedError, locked
from flaxcnn.train.run_folder import shell_word, write_text
from flaxcnn.tune import space as spaces
from flaxcnn.tune.errors import TuneError
from flaxcnn.tune.space import Space

_PLAN = "study.json"
# What a process leaves that was killed before it wrote `study.json`.
_LEFT_OVER = {lock.NAME, f".{_PLAN}.tmp"}
# The figure of an epoch that a metric is, and whether more is better.
METRICS = {"accuracy": ("validation_accuracy", "maximize"), "loss": ("validation_loss", "minimize")}
SAMPLERS = ("tpe", "random", "qmc", "grid")
PRUNERS = ("none", "median", "halving", "hyperband")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a study is.

    Attributes:
        base: the settings of every trial, by name, unless the space says otherwise; paths of data are absolute.
        space: as its file has it.
        sampler: of `SAMPLERS`.
        pruner: of `PRUNERS`.
        metric: of `METRICS`: the best of a trial's epochs counts.
        seed: of the sampler.
        trials: how many there are to be; None is every point of a grid.
        storage: URL of the database; None is `study.db` in the folder.
        name: of the study in the database.
        identity: by which the study in the database is known again.
    """

    base: dict[str, Any]
    space: dict[str, Any]
    sampler: str = "tpe"
    pruner: str = "none"
    metric: str = "accuracy"
    seed: int = 0
    trials: int | None = 20
    storage: str | None = None
    name: str = "study"
    identity: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    def config(self) -> Config:
        """The base of every trial."""
        return Config().replace(**self.base)

    def searched(self) -> Space:
        """The space."""
        return spaces.parse(self.space, self.config())

    def figure(self) -> str:
        """The name of the figure of an epoch that counts."""
        return METRICS[self.metric][0]

    def direction(self) -> str:
        """`maximize` or `minimize`."""
        return METRICS[self.metric][1]


class StudyFolder:
    """The folder of a study, new (`create`) or written before (`open`)."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path, self.plan = path, plan

    @classmethod
    def create(cls, path: str | Path, plan: Plan) -> "StudyFolder":
        """Make the folder of a new study, or open that of the same study.

        Raises:
            TuneError: the folder holds something else, or another study, or cannot be written.
        """
        path = Path(path)
        _require_unused(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            with alone(path):
                if not (path / _PLAN).is_file():
                    _require_unused(path)
                    folder = cls(path, plan)
                    folder.write()
                    return folder
        except OSError as error:
            raise TuneError(
                f"The study {printable(path)} cannot be written ({error.strerror}); give another folder with --out."
            ) from None
        folder = cls.open(path)
        folder.require_same(plan)
        return folder if plan.trials == folder.plan.trials else folder.with_trials(plan.trials)

    @classmethod
    def open(cls, path: str | Path) -> "StudyFolder":
        """A folder that a study was written into.

        Raises:
            TuneError: it holds no study, or its `study.json` is damaged.
        """
        path = Path(path)
        try:
            content = json.loads((path / _PLAN).read_text(encoding="utf-8"))
            return cls(path, Plan(**content))
        except OSError:
            raise TuneError(
                f"{printable(path)} is no study: it holds no {_PLAN}; expected a folder that `flaxcnn tune` made."
            ) from None
        except (ValueError, TypeError):
            raise TuneError(f"{printable(path / _PLAN)} is damaged; start another study.") from None

    def write(self) -> None:
        """Write `study.json`."""
        write_text(self.path / _PLAN, json.dumps(dataclasses.asdict(self.plan), indent=2) + "\n")

    def with_trials(self, trials: int | None) -> "StudyFolder":
        """The study with another number of trials, which is written."""
        folder = StudyFolder(self.path, dataclasses.replace(self.plan, trials=trials))
        with alone(self.path):
            folder.write()
        return folder

    def require_same(self, plan: Plan) -> None:
        """Raise a TuneError on a plan that differs in more than the number of trials."""
        for field in dataclasses.fields(Plan):
            before, now = getattr(self.plan, field.name), getattr(plan, field.name)
            if field.name in ("trials", "identity") or before == now:
                continue
            what = "" if isinstance(now, dict) else f" {before}, and not {now}"
            raise TuneError(
                f"The study {printable(self.path)} has a {field.name} of its own{what}; give another folder as --out, "
                f"or go on with it by `flaxcnn tune {shell_word(self.path)} --resume`."
            )

    def trial(self, number: int) -> Path:
        """The run folder of a trial."""
        return self.path / "trials" / f"{number:04d}"

    @property
    def url(self) -> str:
        """The URL of the database."""
        # Four slashes: the path is absolute.
        return self.plan.storage or f"sqlite:///{(self.path / 'study.db').absolute()}"


def _require_unused(path: Path) -> None:
    used = path.exists() and (
        not path.is_dir() or any(item.name not in _LEFT_OVER for item in path.iterdir())
    )
    # Asked last: another process may begin the same study meanwhile, and writes its plan before anything else.
    if used and not (path / _PLAN).is_file():
        raise TuneError(
            f"The folder {printable(path)} is used already, and holds no study; give another with --out."
        )


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Be the only process inside for this study; wait for the others. It is for what takes well under a second."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(path))
                break
            except LockedError:
                time.sleep(0.02)
        yield
