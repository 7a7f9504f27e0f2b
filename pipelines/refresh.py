"""The refresh as plain calls: intake, core, features, checks, snapshot; Dagster makes the same.

Put here: the order of the steps and what a run reports. Keep out: the steps themselves.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from features import build, catalog, history_store, live_lines, manifest, params, snapshot
from features.before import before
from features.build import Built, Plan
from features.durations import DAY_MS
from features.engines import duckdb as engine
from features.events import Event, Listener
from features.file_facts import FileFacts
from features.lake import Lake
from features.lock import writer_lock
from features.memory import Before
from features.proofs import Proofs
from features.rebuild import CoreReport, rebuild
from features.settings import Settings
from features.words import on_emptied, on_lost
from pipelines.alerts import Delivery, after_refresh
from pipelines.intake.intake import IntakeReport, ensure_tables, ingest
from pipelines.intake.kinds import RAW_TABLES
from pipelines.operator import operator


@dataclass
class RefreshReport:
    """What one refresh read, computed and published.

    ``outcome`` is published, kept (older than CURRENT; of another environment, which
    ``other_environment`` then names; or, then ``is_emptied``, without any symbol where CURRENT has
    some; or of fewer lines than CURRENT, which ``lost`` then counts by raw table), held (by a
    person, or by a check for one), rejected (a check failed), unchanged (this very snapshot stands
    already) or empty (no line was ever read).
    """

    outcome: str = "empty"
    other_environment: str | None = None
    is_emptied: bool = False
    lost: dict[str, tuple[int, int]] = field(default_factory=dict)  # rows before, rows now
    snapshot_id: str | None = None
    intake: IntakeReport = field(default_factory=IntakeReport)
    core: CoreReport = field(default_factory=CoreReport)
    built: Built = field(default_factory=Built)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def doubt(self) -> str | None:
        """Say why a person must look at a build that was kept; None: nobody must."""
        if self.lost:
            return on_lost(self.snapshot_id, self.lost)
        return on_emptied(self.snapshot_id) if self.is_emptied else None


class Refresh:
    """One refresh in steps, under the writer lock and on one DuckDB connection.

    The steps are called in order (all_steps): read, rebuild_core, build_features, check, publish.
    Each may be left out where it was done before; nothing is published without the checks.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        as_of_ms: int | None = None,
        now_ms: int | None = None,
        publish_older: bool = False,
        listen: Listener = lambda event: None,
    ) -> None:
        self.settings = settings
        self._clock_ms = _wall_clock_ms if now_ms is None else lambda: now_ms
        self.now_ms = self._clock_ms()
        self.as_of_ms = self.now_ms if as_of_ms is None else as_of_ms
        self.publish_older = publish_older
        self.listen = listen
        self.lake = Lake(settings.lake_root, is_only_writer=True)
        self.store = snapshot.Store(settings.snapshots_root)
        self.facts = FileFacts(settings.home / "cache" / "facts")
        self.proofs = Proofs(settings.home / "cache" / "checks.json")
        self.params = params.load(settings.params)
        self.report = RefreshReport()
        self.plan: Plan | None = None
        self._before: Before | None = None
        self._con: duckdb.DuckDBPyConnection | None = None
        self._folder: Path | None = None

    def all_steps(self, as_of_ms: Callable[[], int] | None = None) -> RefreshReport:
        """Take every step, and release what they took; nothing is built where no line was read.

        ``as_of_ms`` is asked for the as-of once the lines are read.
        """
        try:
            self.prepare()
            self.read()
            if as_of_ms is not None:
                self.as_of_ms = as_of_ms()
            if self.has_lines:
                self.rebuild_core()
                if not self.stands:
                    self.build_features()
                    self.check()
                self.publish()
            return self.report
        finally:
            self.close()

    def prepare(self) -> None:
        """Create what the lake lacks; refuses a lake of another format."""
        self.lake.prepare()
        ensure_tables(self.lake)
        for table in catalog.stored():
            self.lake.keep_properties(table.name)

    def read(self, tables: set[str] | None = None) -> IntakeReport:
        """Ingest the new lines of every source, or of some raw tables."""
        self.plan = None  # the versions it fixed are about to move
        with self._timed("intake"):
            found = ingest(
                self.lake, self.settings, now_ms=self.now_ms, tables=tables, listen=self.listen
            )
        self.report.intake.tables.update(found.tables)
        self.report.intake.problems = found.problems
        self.report.intake.unclaimed = found.unclaimed
        return found

    def rebuild_core(self) -> CoreReport:
        """Rebuild the core partitions that new rows touch."""
        window_ms = self.settings.window_days * DAY_MS
        with self._timed("core"):
            self.report.core = rebuild(
                self.lake,
                self._engine(),
                self.params,
                window_ms=(self.as_of_ms - window_ms, self.as_of_ms + 1),
                facts=self.facts,
                listen=self.listen,
            )
        known = set() if self.plan is None else self.plan.inputs.keys()
        if self.report.core.partitions or not known >= {table.name for table in catalog.stored()}:
            self.plan = None  # the versions it fixed have moved
        return self.report.core

    def ensure_core(self) -> None:
        """Rebuild the core tables unless this run did: no feature is built on stale ones."""
        if "core" not in self.report.seconds:
            self.rebuild_core()

    def make_plan(self) -> Plan:
        """Fix the versions and parameters that this build reads."""
        if self.plan is None:
            if self._before is None:  # nothing is published meanwhile: the writer lock is held
                self._before = before(
                    self.store, self.settings.environment, self.as_of_ms, self._engine()
                )
            self.plan = build.plan_build(
                self.lake, self.settings, RAW_TABLES, self.as_of_ms, before=self._before
            )
            self.report.snapshot_id = manifest.snapshot_name(self.plan)
        return self.plan

    @property
    def has_lines(self) -> bool:
        """Tell whether any line was ever read."""
        return any(source.rows for source in self.make_plan().inputs.values())

    @property
    def stands(self) -> bool:
        """Tell whether this very snapshot stands whole on disk."""
        name = manifest.snapshot_name(self.make_plan())
        return (self.store.path(name) / snapshot.MANIFEST).exists()

    def build_features(self, names: set[str] | None = None) -> Built:
        """Compute the feature tables, or some of them, into a new build."""
        plan = self.make_plan()
        with self._timed("build"):
            con = self._engine()
            if self._folder is None:
                self._folder = self.store.begin()
                build.attach(con, self._folder / snapshot.DATABASE)
            found = build.run_tables(con, self.lake, plan, names, self.listen, self.facts)
        self.report.built.rows.update(found.rows)
        self.report.built.digests.update(found.digests)
        self.report.built.left_out = found.left_out
        return found

    def column_types(self, name: str) -> dict[str, str]:
        """Return the columns of a feature table of this build with their types."""
        assert self._con is not None  # build_features opened it
        relation = self._con.table(f"{build.SNAPSHOT}.main.{name}")
        return dict(zip(relation.columns, map(str, relation.types), strict=True))

    def check(self) -> list[build.CheckResult]:
        """Run every check on the build; missing tables are computed first."""
        missing = {t.name for t in catalog.computed()} - set(self.report.built.rows)
        if missing:
            self.build_features(missing)
        assert self._con is not None  # build_features opened it
        with self._timed("checks"):
            self.report.built.checks = build.run_checks(
                self._con, self.lake, self.make_plan(), self.proofs
            )
        return self.report.built.checks

    def publish(self) -> str:
        """Finish the build and publish it, unless a check, a hold or CURRENT forbids it.

        What was published, now or by a run that was killed, is kept in the history. Returns the
        outcome, as RefreshReport names it.
        """
        plan = self.make_plan()
        name = manifest.snapshot_name(plan)
        if not self.stands:
            self._finish(plan, name)
        if self.report.built.failed:
            self.report.outcome = "rejected"
        elif self.store.current() == name:
            self.report.outcome = "unchanged"
        elif self.store.hold() is not None:
            self.report.outcome = "held"
        elif self._is_kept(plan, name):
            self.report.outcome = "kept"
        elif self.store.held_by(name):
            self.report.outcome = "held"
        else:
            self.listen(Event("publish.before_current", table=name))
            # Not the run's start: history must not say that it was known before it was.
            self.store.publish(name, now_ms=self._clock_ms(), by=operator())
            self.listen(Event("publish.done", table=name))
            self.report.outcome = "published"
        with self._timed("history"):
            history_store.catch_up(self.lake, self.store, self.listen)
        self.facts.forget_others()
        return self.report.outcome

    def close(self) -> None:
        """Release the connection, and what a build that was not finished takes of the disk."""
        self._disconnect()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _disconnect(self) -> None:
        if self._con is not None:
            self._con.close()
            self._con = None

    def _finish(self, plan: Plan, name: str) -> None:
        if not self.report.built.checks:
            self.check()
        folder = self._folder
        assert self._con is not None  # check() opened them
        assert folder is not None
        with self._timed("publish"):
            self.listen(Event("publish.started", table=name))
            build.write_lake_views(self._con, self.lake, plan)
            lines = build.live_jsonl(self._con, plan, name, self.settings.account)
            (folder / live_lines.FILE).write_bytes(lines)
            self._con.execute(f"DETACH {build.SNAPSHOT}")
            self._disconnect()
            told = manifest.manifest_of(
                plan,
                self.report.built,
                self.settings,
                sequence=self.store.next_sequence(),
                now_ms=self.now_ms,
                operator=operator(),
                previous=self.store.current(),
            )
            self.listen(Event("publish.before_finish", table=name))
            self.store.finish(folder, told)
            self._folder = None  # it has its own name now
            self.listen(Event("publish.finished", table=name))

    def _is_kept(self, plan: Plan, name: str) -> bool:
        """Tell whether a person must ask for publication.

        That is so where CURRENT is later, of another environment, the only one with symbols, or
        made of more lines.
        """
        current = self.store.current()
        if current is None or self.publish_older:
            return False
        try:
            published = self.store.manifest(current)
        except snapshot.SnapshotError:
            return False  # CURRENT is damaged or gone: any whole snapshot is better
        if published["environment"] != plan.environment:
            self.report.other_environment = published["environment"]
            return True
        published_as_of_ms: int = published["as_of_ms"]
        if plan.as_of_ms < published_as_of_ms:
            return True
        mine = self.store.manifest(name)
        self.report.is_emptied = manifest.is_emptied(mine, published)
        self.report.lost = manifest.lost_lines(mine, published)
        return self.report.doubt is not None

    def _engine(self) -> duckdb.DuckDBPyConnection:
        """Open the run's connection, or return it."""
        if self._con is None:
            self._con = engine.connect(
                memory_limit_mb=self.settings.memory_limit_mb,
                threads=self.settings.threads,
                spill=self.settings.spill_root,
            )
        return self._con

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        spent = time.perf_counter() - started
        self.report.seconds[step] = self.report.seconds.get(step, 0.0) + spent


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


def refresh(
    settings: Settings,
    *,
    as_of_ms: int | None = None,
    now_ms: int | None = None,
    publish: bool = False,
    wait_s: float = 60.0,
    on_event: Listener = lambda event: None,
) -> RefreshReport:
    """Read new lines, bring every table up to date and publish one snapshot as of ``as_of_ms``.

    Args:
        settings: where the data is and what it means.
        as_of_ms: epoch ms the windows end at; the start of the run when None.
        now_ms: the run's clock, for tests and simulations; the real one when None.
        publish: publish also when CURRENT is of a later as-of, of another environment, or the
            only one of the two that holds a symbol.
        wait_s: seconds to wait for another writer.
        on_event: called with every Event of the run.

    Raises:
        WriterBusyError: another process writes and did not end in time.
        LakeFormatError: the lake was written by another format version.
    """
    with writer_lock(settings.home, "refresh", wait_s=wait_s):
        run = Refresh(
            settings, as_of_ms=as_of_ms, now_ms=now_ms, publish_older=publish, listen=on_event
        )
        report = run.all_steps()
    tell(settings, report, now_ms)
    return report


def tell(settings: Settings, report: RefreshReport, now_ms: int | None = None) -> Delivery:
    """Deliver alerts and heartbeat after a run, beside the writer lock; never raises for them."""
    now_ms = _wall_clock_ms() if now_ms is None else now_ms
    store = snapshot.Store(settings.snapshots_root)
    return after_refresh(settings, store, report, now_ms=now_ms)
