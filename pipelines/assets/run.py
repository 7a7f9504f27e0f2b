"""The run that all assets share: one Refresh under the writer lock, for as long as Dagster's run.

Put here: opening and closing that run. Keep out: its steps (pipelines/refresh.py).
"""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import Field

from features.lock import writer_lock
from features.settings import Settings
from pipelines.refresh import Refresh

WRITER_TAG = "execintel/writer"  # runs that carry it wait for each other (dagster.yaml)


# The generator hands the assets a Refresh; the type parameter would be what a plain resource is.
class RefreshRun(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A refresh whose steps the assets call; nothing else writes until the run ends."""

    as_of: str | None = Field(
        None, description="Time the windows end at, ISO 8601, UTC; the run's start when absent"
    )
    publish_older: bool = Field(
        False,
        description="Publish also when CURRENT is of a later as_of, of another environment, or "
        "holds symbols where the build holds none",
    )
    lock_wait_s: float = Field(60.0, description="Seconds to wait for another writer")

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Refresh]:
        """Hold the writer lock and one Refresh until the run ends, however it ends."""
        settings = Settings()
        what = f"Dagster run {context.run.run_id}" if context.run else "Dagster"
        with writer_lock(settings.home, what, wait_s=self.lock_wait_s):
            run = Refresh(
                settings, as_of_ms=_epoch_ms(self.as_of), publish_older=self.publish_older
            )
            try:
                run.prepare()
                yield run
            finally:
                run.close()


def _epoch_ms(text: str | None) -> int | None:
    """Read an ISO 8601 time, UTC where it names no zone, as epoch ms."""
    if text is None:
        return None
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return round(moment.timestamp() * 1000)
