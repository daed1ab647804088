"""What can be wrong with a study, told in one sentence."""

from types import ModuleType

from flaxcnn.errors import FlaxcnnError


class TuneError(FlaxcnnError):
    """A space, a folder or a database of a study that cannot be used; one sentence says why."""


def optuna() -> ModuleType:
    """The library Optuna, which an extra installs.

    Raises:
        TuneError: it is not installed.
    """
    try:
        import optuna as module
    except ImportError:
        raise TuneError("Tuning needs Optuna; install it by: pip install 'flaxcnn[tuning]'.") from None
    return module
