"""The database of a study: reached, created once, and told about in one sentence when it cannot be."""

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

from flaxcnn.tune.errors import TuneError, optuna
from flaxcnn.tune.folder import StudyFolder, alone

# Seconds that SQLite waits for another process that writes.
_BUSY = 60
_IDENTITY = "flaxcnn study"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna says nothing inside but errors; afterwards it is as talkative as before."""
    logging = optuna().logging
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def check(url: str) -> None:
    """Raise a TuneError if a database cannot be reached, before anything is written."""
    optuna()
    import sqlalchemy

    with told(url, opening=True):
        engine = sqlalchemy.create_engine(url)
        try:
            with engine.connect():
                pass
        finally:
            engine.dispose()


@contextlib.contextmanager
def told(url: str, *, opening: bool = False) -> Iterator[None]:
    """Tell in one sentence that the database does not answer; `opening` it, its driver may be missing.

    Raises:
        TuneError: it does not, or there is no driver for it.
    """
    import sqlalchemy

    lost = (optuna().exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError)
    lost += (ImportError,) if opening else ()
    try:
        yield
    except lost as error:
        root = error
        while (cause := getattr(root, "orig", None) or root.__cause__) is not None:
            root = cause
        reason = " ".join(str(root).split()).rstrip(".") or type(root).__name__
        raise TuneError(
            f"The database {_shown(url)} cannot be used ({reason}); check the URL of --storage and that the server "
            "runs."
        ) from None


def _shown(url: str) -> str:
    """A URL without its password."""
    import sqlalchemy

    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return url


def _open(folder: StudyFolder) -> Any:
    """Open the study; tables and study are created if they are not there, by one process."""
    plan, library = folder.plan, optuna()
    with told(folder.url, opening=True), alone(folder.path):
        options: dict[str, Any] = {}
        if folder.url.startswith("sqlite:"):
            options = {"connect_args": {"timeout": _BUSY}}
        if plan.storage is None:
            _prepare_sqlite(folder)
        storage = library.storages.RDBStorage(folder.url, engine_kwargs=options)
        study = library.create_study(
            study_name=plan.name, storage=storage, direction=plan.direction(), load_if_exists=True
        )
        identity = study.user_attrs.get(_IDENTITY)
        if identity is None and not study.get_trials(deepcopy=False):
            study.set_user_attr(_IDENTITY, plan.identity)
            return study
    if identity != plan.identity:
        raise TuneError(
            f"The database {_shown(folder.url)} has another study named {plan.name!r}; give another --name."
        )
    return study


@contextlib.contextmanager
def opened(folder: StudyFolder) -> Iterator[Any]:
    """The `optuna.Study` of a folder, while Optuna is quiet; its connections are given back afterwards.

    Raises:
        TuneError: the database cannot be used.
    """
    with told(folder.url), quiet():
        study = _open(folder)
        try:
            yield study
        finally:
            storage = study._storage
            getattr(storage, "_backend", storage).engine.dispose()


def _prepare_sqlite(folder: StudyFolder) -> None:
    """Readers and a writer at once, which SQLite's file remembers."""
    try:
        connection = sqlite3.connect(folder.path / "study.db", timeout=_BUSY)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise TuneError(f"The database {folder.path / 'study.db'} cannot be used ({error}).") from None
