"""Settings of every test of the pipelines: Dagster's SQLite storage without its dearest habit.

Put here: what all of them share. Keep out: fixtures of one file.
"""

from typing import Any

from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import Engine, create_engine

_engines: dict[str, Engine] = {}


def _kept_engine(url: str, **choice: Any) -> Engine:
    """Return the engine of a database, made once.

    Dagster makes one for each event, which then compiles each statement anew: a quarter of a run.
    These engines hold no connection, so that one is as good as another.
    """
    if url not in _engines:
        _engines[url] = create_engine(url, **choice)
    return _engines[url]


for _storage in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
    setattr(_storage, "create_engine", _kept_engine)  # noqa: B010 - mypy knows no replaced function
