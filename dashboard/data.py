"""The only place that reads: one frozen View of one snapshot, from files here or from the mirror.

Put here: which snapshot a page is of, its age, status, tables and readings. Keep out: anything
shown (panels.py, views/), any arithmetic. Nothing is written, and only a few snapshots stay in
memory, however many go by.
"""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Protocol

import duckdb
import polars as pl

from dashboard.data_kept import Kept
from dashboard.data_traces import TraceFolder, TraceTables
from dashboard.settings import DashboardSettings
from dashboard.states import DEMONSTRATION, Notice, notices_of
from features.acknowledgements import Acknowledged, acknowledged
from features.explain import Part, explain
from features.publications import Publication
from features.snapshot import SnapshotError, Store, open_snapshot
from features.words import parse_time, when
from live.mirror.desk import UNTOLD, Desk, words_of
from live.snapshot.acting import SAFE
from live.snapshot.generation import Generation
from live.snapshot.published import PublishedError, load_published, reads_of
from live.snapshot.reading import Reading
from live.snapshot.records import ALL, Record
from live.trading import controls
from live.v510.answers import Read, answering_from, toggle_of

Status = Literal["fresh", "stale", "demo", "empty", "none"]
KEPT = 4  # snapshots in memory: now, the one before it for those who look at it, two of playback
_NEVER_PUBLISHED = Notice("warn", "This build was never published: no engine read it.")
_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]+")


class Held:
    """One snapshot in memory: its manifest, its lines for engines, and each table once asked for.

    Any thread may ask; what was read never changes, for neither does a snapshot.
    """

    def __init__(self, store: Store, snapshot_id: str) -> None:
        """Open a snapshot, or what is archived of it.

        Raises SnapshotError or PublishedError where it is not there or damaged.
        """
        with TemporaryDirectory(prefix="execintel-dashboard-") as unpacked:
            root = store.reopen(snapshot_id, Path(unpacked))
            self.manifest = Store(root).manifest(snapshot_id)
            self.generation = load_published(root, snapshot_id, self.manifest["environment"])
            read = reads_of(self.generation, age_s=0.0, max_age_s=0.0)
            for symbol in self.generation.symbols:  # a damaged line must not fail a page later
                read(symbol)
        self._database = store.database(snapshot_id)
        # For whole tables: to open it takes longer than to read one, and finds damage.
        self._con = open_snapshot(self._database) if self.has_tables else None
        self._tables: dict[str, pl.DataFrame] = {}
        self._lock = threading.Lock()

    @property
    def has_tables(self) -> bool:
        """Tell whether its database is there: of an archived snapshot only the lines are kept."""
        return self._database.exists()

    def table(self, name: str) -> pl.DataFrame:
        """Return a whole feature table; without columns where the snapshot has none of the name."""
        with self._lock:
            if name not in self._tables:
                self._tables[name] = self._read(name)
            return self._tables[name]

    def _read(self, name: str) -> pl.DataFrame:
        if self._con is None or name not in self.manifest["tables"]:
            return pl.DataFrame()
        with self._faults():
            return pl.DataFrame(self._con.sql(f"FROM {name}").pl())

    def query(self, sql: str, params: Mapping[str, Any]) -> pl.DataFrame:
        """Return the rows of one SELECT over the snapshot, its raw and core views included.

        Not kept: page what may be long. Raises SnapshotError where the database is not kept or a
        file of the lake is gone.
        """
        if not self.has_tables:
            raise SnapshotError("only the lines for engines are kept of this snapshot")
        with self._faults(), open_snapshot(self._database) as con:
            return pl.DataFrame(con.sql(sql, params=dict(params)).pl())

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise SnapshotError(f"{self.manifest['snapshot_id']}: {error}") from error

    def explain(self, symbol: str, hour_utc: int) -> tuple[Part, ...]:
        """Return the steps to a symbol's values; see features.explain."""
        if not self.has_tables:
            raise SnapshotError("only the lines for engines are kept of this snapshot")
        with open_snapshot(self._database) as con:
            return explain(con, symbol, hour_utc, self.manifest["params"])


@dataclass(frozen=True)
class View:
    """What every page is given: one snapshot at one moment.

    ``now_ms`` is the present, or the past moment that is played back; ages count up to it.
    """

    settings: DashboardSettings
    now_ms: int
    is_past: bool
    status: Status
    notices: tuple[Notice, ...]
    snapshot_id: str | None = None
    as_of_ms: int | None = None
    environment: str = ""
    window_days: int = 0
    symbols: tuple[str, ...] = ()
    held: Held | None = None  # None: nothing published, or the mirror, which has no tables
    traces: TraceTables | None = None  # of trace files, where nothing is published
    read: Read = field(default=lambda symbol: _unknown(symbol))
    switches: controls.State | None = None  # None: of the past nobody asks, a mirror may not tell
    desk: Desk | None = None  # what the mirror tells beside the snapshot; None: no mirror

    @property
    def age_s(self) -> float | None:
        """Return seconds from the snapshot's as-of to the moment shown."""
        return None if self.as_of_ms is None else (self.now_ms - self.as_of_ms) / 1000

    @property
    def has_tables(self) -> bool:
        """Tell whether ``table`` can answer: the mirror and archived snapshots have none."""
        return self.held is not None and self.held.has_tables

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Return the snapshot's manifest, empty where there is none."""
        return {} if self.held is None else self.held.manifest

    @property
    def applied(self) -> frozenset[str]:
        """Return which decisions are known to act; see ``is_applied_told``."""
        if self.held is None:
            return frozenset((self.desk and self.desk.applied) or ())
        return self.settings.base.applied(self.held.manifest["environment"])

    @property
    def told_at(self) -> str:
        """Say when what stands at the desk was mirrored; empty where this is the desk."""
        if self.desk is None or self.desk.told_ms is None:
            return ""
        return f" when mirrored, {when(self.desk.told_ms)}"

    @property
    def is_applied_told(self) -> bool:
        """Tell whether it is known what engines act on: a mirror may not say it."""
        return self.desk is None or self.desk.applied is not None

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the parameters of the tables, empty where there are none."""
        if self.traces is not None:
            return self.traces.params
        found: Mapping[str, Any] = self.manifest.get("params", {})
        return found

    def table(self, name: str) -> pl.DataFrame:
        """Return a feature table of the snapshot; without columns where there is none.

        Where nothing is published it is that of the trace files.
        """
        if self.traces is not None:
            return self.traces.tables.get(name, pl.DataFrame())
        return pl.DataFrame() if self.held is None else self.held.table(name)

    def query(self, sql: str, **params: Any) -> pl.DataFrame:
        """Return the rows of one SELECT over the snapshot; see Held.query."""
        if self.held is None:
            raise SnapshotError("there is no database to ask: the mirror holds documents only")
        return self.held.query(sql, params)

    def bare(self) -> "View":
        """Return it without what it reads from: what a session keeps must not keep a snapshot."""
        return replace(self, held=None, traces=None, read=_unknown)

    @property
    def hour_utc(self) -> int:
        """Return the UTC hour of day of the moment shown."""
        return self.now_ms // 3_600_000 % 24

    def explain(self, symbol: str) -> tuple[Part, ...]:
        """Return size, score, offset and policy of a symbol, step by step, for the hour shown.

        Raises LookupError where the snapshot does not hold what decided.
        """
        if self.held is None:
            raise LookupError("the mirror does not hold what decided")
        try:
            return self.held.explain(symbol, self.hour_utc)
        except SnapshotError as error:
            raise LookupError(str(error)) from error

    def overruled(self, symbol: str) -> str | None:
        """Say what a switch has engines do of a symbol; None: none that is known stands.

        Where a mirror does not tell what engines act on, say that: but that they only reduce is so
        whatever they act on.
        """
        if self.switches is not None:
            words = controls.overruling(self.switches, symbol, self.now_ms)
            if words is not None:
                return words
        return None if self.is_applied_told or self.read(symbol).reduce_only else UNTOLD

    def acknowledged(self) -> Acknowledged:
        """Return which alerts a person had seen by the moment shown, and what was noted."""
        return acknowledged(self.settings.base.home, until_ms=self.now_ms)

    def answering(self) -> AbstractContextManager[None]:
        """Let the calls of live.intel, and so live_helpers.py, answer from this snapshot.

        The switches that they tell are those of the present, and so not of a past one.
        """
        return answering_from(self.read, toggle=toggle_of(self.switches, self.now_ms))

    def record(self, symbol: str) -> Record | None:
        """Return all that the snapshot says of a symbol to engines; ``*`` is all together."""
        return self.read(symbol).record


class Source(Protocol):
    """Where views come from; one for all sessions of a process."""

    @property
    def kept(self) -> Kept | None: ...

    def view(self, at: str | None = None) -> View: ...

    def publications(self) -> list[Publication]: ...

    def held(self, snapshot_id: str) -> Held: ...


class LocalSource:
    """The snapshots below the data root."""

    def __init__(self, settings: DashboardSettings) -> None:
        self.settings = settings
        self._store = Store(settings.base.snapshots_root)
        self._kept: OrderedDict[str, Held] = OrderedDict()
        self._lock = threading.Lock()
        self._last_good: str | None = None
        self._made: list[Publication] = []
        self._made_at: tuple[int, str | None] | None = None
        folder = settings.telemetry_dir
        self._traces = None if folder is None else TraceFolder(folder, settings.base)

    @property
    def kept(self) -> Kept:
        return Kept(self._store)

    def view(self, at: str | None = None) -> View:
        """Return CURRENT now, or what was in force at a past moment or with a snapshot's id.

        ``at`` is an ISO 8601 time or an id. What cannot be shown stands in the notices.
        """
        now_ms = time.time_ns() // 1_000_000
        if at is None:
            return self._present(now_ms)
        try:
            snapshot_id, moment_ms, was_read = self._resolve(at, now_ms)
            view = self._view(self.held(snapshot_id), moment_ms, is_past=True)
            return view if was_read else _with(view, _NEVER_PUBLISHED)
        except (SnapshotError, PublishedError, ValueError) as error:
            present = self._present(now_ms)
            problem = Notice("bad", f"{at} cannot be played back: {error}. Below is the present.")
            return _with(present, problem)

    def publications(self) -> list[Publication]:
        """Return what was CURRENT when, oldest first.

        Read anew when one was added: a year of them is a log of 30 MB.
        """
        log = self._store.root / "published.jsonl"
        state = (log.stat().st_size if log.exists() else 0, self._store.current())
        with self._lock:
            if state != self._made_at:
                self._made, self._made_at = self._store.publications(), state
            return self._made

    def held(self, snapshot_id: str) -> Held:
        """Return a snapshot from memory, else from disk.

        Raises SnapshotError or PublishedError where it cannot be read.
        """
        with self._lock:
            if snapshot_id not in self._kept:
                self._kept[snapshot_id] = Held(self._store, snapshot_id)
            self._kept.move_to_end(snapshot_id)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return self._kept[snapshot_id]

    def _resolve(self, at: str, now_ms: int) -> tuple[str, int, bool]:
        """Return the snapshot that ``at`` means, the moment looked at, and whether it was read."""
        if _ID.fullmatch(at):
            made = [each.published_ms for each in self.publications() if each.snapshot_id == at]
            moment_ms = made[0] if made else int(self.held(at).manifest["created_ms"])
            return at, moment_ms, bool(made)
        moment_ms = parse_time(at)
        if moment_ms > now_ms:
            raise SnapshotError("it is in the future")
        by_then = [each for each in self.publications() if each.published_ms <= moment_ms]
        if not by_then:
            raise SnapshotError("nothing was published by then")
        return by_then[-1].snapshot_id, moment_ms, True

    def _present(self, now_ms: int) -> View:
        current = self._store.current()
        problem: str | None = None
        for snapshot_id in dict.fromkeys([current, self._last_good]):
            if snapshot_id is None or current is None:  # what nobody names is not shown
                continue
            try:
                held = self.held(snapshot_id)
            except (SnapshotError, PublishedError) as error:
                problem = problem or str(error)
                continue
            self._last_good = snapshot_id
            return self._view(held, now_ms, is_past=False, problem=problem)
        traces = self._traces.read() if self._traces is not None else None
        if self._traces is not None:
            problem = problem or self._traces.problem
        notices = notices_of(
            self.settings, self._store, None, "none", problem=problem, traces=traces,
            switches=self._switches(),
        )  # fmt: skip
        as_of_ms = None if traces is None else traces.as_of_ms
        return View(self.settings, now_ms, False, "none", notices, as_of_ms=as_of_ms, traces=traces)

    def _view(self, held: Held, now_ms: int, *, is_past: bool, problem: str | None = None) -> View:
        generation, manifest = held.generation, held.manifest
        age_s = (now_ms - generation.as_of_ms) / 1000
        max_age_s = float(self.settings.base.snapshot_max_age_s)
        is_demo = manifest["origin"] == "demo"
        status = _status(age_s, max_age_s, generation.symbols, is_demo=is_demo)
        store, switches = (None, None) if is_past else (self._store, self._switches())
        notices = notices_of(
            self.settings, store, held, status, problem=problem,
            past_ms=now_ms if is_past else None, age_s=age_s, symbols=generation.symbols,
            switches=switches,
        )  # fmt: skip
        # Generated data is old by nature: engines are shown as they read it when it was new.
        read = reads_of(generation, age_s=0.0 if is_demo else age_s, max_age_s=max_age_s)
        return View(
            self.settings, now_ms, is_past, status, notices, held=held, read=read,
            environment=manifest["environment"], switches=switches, **_named(generation),
        )  # fmt: skip

    def _switches(self) -> controls.State:
        return controls.Controls(self.settings.base.controls_root).state()


class MirrorSource:
    """The snapshot that is mirrored in Firestore: documents of symbols, no tables, no past."""

    def __init__(self, settings: DashboardSettings) -> None:
        """Look once, for up to 10 s, then keep up in the background.

        Raises OffError where no Firestore is configured.
        """
        from live.mirror.source import FirestoreSource

        self.settings = settings
        self._source = FirestoreSource(
            environment=settings.base.environment,
            max_age_s=settings.base.snapshot_max_age_s,
            on_event=lambda event: None,  # what it would log stands on the page
        )
        self._source.follow()

    @property
    def kept(self) -> None:
        return None

    def view(self, at: str | None = None) -> View:
        """Return what is mirrored now; the mirror has no past."""
        source, now_ms = self._source, time.time_ns() // 1_000_000
        header, problem = source.header, source.problem
        if header is None:
            notices = notices_of(self.settings, None, None, "none", problem=problem, is_mirror=True)
            return View(self.settings, now_ms, False, "none", notices)
        age_s, desk = (now_ms - header.as_of_ms) / 1000, source.desk
        symbols = source.symbols
        limit_s = float(self.settings.base.snapshot_max_age_s)
        status = _status(age_s, limit_s, symbols, is_demo=desk.is_demo)
        notices = notices_of(
            self.settings, None, None, status, problem=problem, is_mirror=True,
            age_s=0.0 if desk.is_demo else age_s, symbols=symbols,
        )  # fmt: skip
        told = [Notice(*words) for words in words_of(desk, header.environment, now_ms)]
        if desk.is_demo:
            told.append(Notice("warn", DEMONSTRATION))
        # Read once: the mirror may be replaced while the page is drawn.
        read = source.read_as_new if desk.is_demo else source.read
        readings = {symbol: read(symbol) for symbol in (*symbols, ALL)}
        view = View(
            self.settings, now_ms, False, status,
            tuple(sorted((*told, *notices), key=lambda notice: notice.level != "bad")),
            snapshot_id=header.snapshot_id, as_of_ms=header.as_of_ms,
            environment=header.environment, window_days=header.window_days,
            symbols=tuple(sorted(symbols)),
            read=lambda symbol: readings.get(symbol) or _unknown(symbol),
            switches=desk.switches, desk=desk,
        )  # fmt: skip
        if at is not None:
            view = _with(view, Notice("warn", "The mirror has no past: below is the present."))
        return view

    def publications(self) -> list[Publication]:
        """Return nothing: the mirror holds the newest snapshot only."""
        return []

    def held(self, snapshot_id: str) -> Held:
        raise SnapshotError("the mirror holds the newest snapshot only")


def open_source(settings: DashboardSettings) -> Source:
    """Return where this process reads; raises OffError where no Firestore is configured."""
    return MirrorSource(settings) if settings.source == "firestore" else LocalSource(settings)


def _status(
    age_s: float, max_age_s: float, symbols: Collection[str], *, is_demo: bool = False
) -> Status:
    if not symbols:
        return "empty"
    if is_demo:
        return "demo"
    return "fresh" if 0 <= age_s <= max_age_s else "stale"


def _named(generation: Generation) -> dict[str, Any]:
    return {
        "snapshot_id": generation.snapshot_id,
        "as_of_ms": generation.as_of_ms,
        "window_days": generation.header.window_days,
        "symbols": tuple(sorted(generation.symbols)),
    }


def _with(view: View, notice: Notice) -> View:
    return replace(view, notices=(notice, *view.notices))


def _unknown(symbol: str) -> Reading:
    return Reading(symbol, "unknown", True, None, None, None, SAFE, None)
