"""`execintel asof`: what the executor would have seen of a symbol at a past moment.

Put here: asking the history and showing its answer. Keep out: which snapshot counts
(features/history.py), what an engine makes of it (live/).
"""

import csv
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from features.words import aged, iso, on_status
from pipelines.commands import common
from pipelines.commands.common import number
from pipelines.commands.sql import Format, finite

if TYPE_CHECKING:
    from features.settings import Settings
    from features.snapshot import Store
    from live.snapshot.reading import Reading

_HOUR_MS = 3_600_000
_ALL_HOURS = -1
_ALL = "*"
_HEAD = ("snapshot_id", "as_of_ms", "available_ms", "age_ms", "availability")
_PROBE = "feat_router__effectiveness.n"  # of `*` every snapshot has one

Row = dict[str, Any]


@dataclass(frozen=True)
class _Seen:
    """The snapshot in force at a moment, and all that it says of one symbol."""

    symbol: str
    moment_ms: int
    snapshot_id: str
    as_of_ms: int
    available_ms: int
    age_ms: int
    availability: str
    tables: dict[str, list[Row]]  # rows begin with their keys beyond the symbol

    @property
    def hour_utc(self) -> int:
        return self.moment_ms // _HOUR_MS % 24


def asof(
    symbol: Annotated[str, typer.Argument(help="One symbol, such as BTCUSDT; * for all together.")],
    moment: Annotated[
        str,
        typer.Argument(
            metavar="T",
            help="The moment, ISO 8601, such as 2025-11-05T14:30:00Z; without a zone it is UTC.",
        ),
    ],
    output: Annotated[
        Format,
        typer.Option(
            "--format",
            help="table for people; json is one object with the rows of every table; csv has a "
            "line per value, such as --format csv. Unknown is –, null and empty.",
        ),
    ] = Format.TABLE,
) -> None:
    """Show what the executor would have seen of a symbol at a past moment, and nothing later.

    Example: execintel asof BTCUSDT 2025-11-05T14:30:00Z

    It is what CURRENT named then, rollbacks included. Values come from the
    history, which outlives the snapshots: of the whole window, of T's UTC hour,
    of every score model.

    as of: where its windows end. available: since when it could be read.
    recorded: really published; simulated: put there by a backtest or backfill.
    engines: what one started at T acted on, by EXECINTEL_SNAPSHOT_MAX_AGE_S;
    of * nothing, for nobody trades it.
    """
    settings = common.load_settings()
    store = common.open_store(settings)
    moment_ms = common.parse_time(moment)
    if moment_ms > common.now_ms():
        raise common.CommandError(
            f"{common.when(moment_ms)} is not over: name a past moment, or see what is in force "
            "now with execintel show"
        )
    seen = _seen(settings, store, symbol, moment_ms)
    if output is Format.JSON:
        _print_json(seen, _reading(settings, store, seen))
    elif output is Format.CSV:
        _print_csv(seen)
    else:
        _print_tables(seen, _reading(settings, store, seen))


# -- asking ---------------------------------------------------------------------------------------


def _seen(settings: "Settings", store: "Store", symbol: str, moment_ms: int) -> _Seen:
    """Ask the history.

    Raises CommandError when nothing was known at that moment, or not of this symbol.
    """
    from features import catalog, history

    lake_root = settings.lake_root
    head = _ask(lake_root, moment_ms, [{"symbol": _ALL}], [_PROBE])[0]
    _require_known(store, moment_ms, head)
    there = history.symbols(
        lake_root, snapshot_id=head["snapshot_id"], available_ms=head["available_ms"]
    )
    named = {name.upper(): name for name in there}.get(symbol.upper())
    if named is None:
        others = ", ".join(name for name in there if name != _ALL) or "none"
        raise common.CommandError(
            f"{symbol} was unknown at {common.when(moment_ms)}: snapshot {head['snapshot_id']}, "
            f"in force then, has no row of it; there are: {others}"
        )
    tables = {}
    for table in catalog.layer("feat"):
        asked = _asked(table.name, table.grain, named, moment_ms)
        if asked:
            columns = [name for name in table.columns if name not in table.grain]
            features = [f"{table.name}.{column}" for column in columns]
            tables[table.name] = [
                {key: row[key] for key in table.grain[1:]}
                | {column: row[f"{table.name}.{column}"] for column in columns}
                for row in _ask(lake_root, moment_ms, asked, features)
                if row["status"] == "ok"
            ]
    told = {name: head[name] for name in _HEAD}
    return _Seen(symbol=named, moment_ms=moment_ms, tables=tables, **told)


def _asked(table: str, grain: tuple[str, ...], symbol: str, moment_ms: int) -> list[Row]:
    """Return the rows that a table is asked for; none where it has other keys than these."""
    from features import params

    choices = {
        "hour_utc": [_ALL_HOURS, moment_ms // _HOUR_MS % 24],
        "model": list(params.definitions()["score_model"]["choices"]),
    }
    if grain[0] != "symbol" or not set(grain[1:]) <= choices.keys():
        return []
    rows: list[Row] = [{"symbol": symbol}]
    for key in grain[1:]:
        rows = [{**row, key: value} for row in rows for value in choices[key]]
    return rows


def _ask(lake_root: Path, moment_ms: int, rows: list[Row], features: list[str]) -> list[Row]:
    import pyarrow as pa

    from features.history import get_historical_features

    entities = pa.Table.from_pylist([{**row, "timestamp_ms": moment_ms} for row in rows])
    found = get_historical_features(entities, features, lake_root=lake_root, max_age_ms=None)
    assert isinstance(found, pa.Table)  # as the entities are
    answer: list[Row] = found.to_pylist()
    return answer


def _require_known(store: "Store", moment_ms: int, head: Row) -> None:
    """Raise CommandError where the history cannot tell what was in force."""
    from features import publications

    logged = publications.at(store.root, moment_ms)
    if logged is not None and (head["availability"], head["snapshot_id"]) != (
        "recorded",
        logged.snapshot_id,
    ):
        raise common.CommandError(
            f"snapshot {logged.snapshot_id} was in force at {common.when(moment_ms)}, and the "
            "history does not hold it: execintel refresh adds what a killed run left out; what is "
            "older than history_days was dropped"
        )
    if head["snapshot_id"] is None:
        raise common.CommandError(
            f"nothing was known at {common.when(moment_ms)}: {_beginning(store, moment_ms)}"
        )


def _beginning(store: "Store", moment_ms: int) -> str:
    first = next(iter(store.publications()), None)
    if first is None:
        return f"nothing is published under {store.root}: run `execintel refresh` first"
    next_s = -(-first.published_ms // 1000)
    moment = iso(moment_ms)
    return (
        f"the first snapshot was published at {common.when(first.published_ms)}; name a moment "
        f"from {iso(1000 * next_s)} on. Were the logs of then read later? execintel refresh "
        f"--as-of {moment} computes what they say of then (kept, not published, where CURRENT's "
        "as-of is later), and execintel show SYMBOL --snapshot ID shows it; docs/history.md tells "
        "how to keep it in the history as simulated"
    )


def _reading(settings: "Settings", store: "Store", seen: _Seen) -> "Reading | str | None":
    """Return what an engine that started at T read, or why that cannot be told any more.

    None of all symbols together: nobody trades ``*``.
    """
    if seen.symbol == _ALL:
        return None
    from features.snapshot import SnapshotError, Store
    from live.snapshot.published import PublishedError, reads_as_published

    with tempfile.TemporaryDirectory(prefix="execintel-asof-") as folder:
        try:
            root = store.reopen(seen.snapshot_id, Path(folder))
            read = reads_as_published(
                root,
                seen.snapshot_id,
                Store(root).manifest(seen.snapshot_id)["environment"],
                age_s=seen.age_ms / 1000,
                max_age_s=settings.snapshot_max_age_s,
            )
            return read(seen.symbol)
        except (SnapshotError, PublishedError) as error:
            return str(error)


# -- showing --------------------------------------------------------------------------------------


def _print_json(seen: _Seen, reading: "Reading | str | None") -> None:
    import msgspec

    told: Row | None = None
    if isinstance(reading, str):
        told = {"problem": reading}
    elif reading is not None:
        acting = msgspec.structs.asdict(reading.acting)
        told = {"status": reading.status, "reduce_only": reading.reduce_only, **acting}
    whole = finite({**asdict(seen), "engine": told})
    typer.echo(json.dumps(whole, default=str, ensure_ascii=False, indent=1, allow_nan=False))


def _print_csv(seen: _Seen) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    head = ("symbol", "moment_ms", *_HEAD)
    said = [getattr(seen, name) for name in head]
    writer.writerow([*head, "feature", "hour_utc", "model", "value"])
    for table, rows in seen.tables.items():
        for row in rows:
            keys = [row.get("hour_utc"), row.get("model")]
            for column, value in row.items():
                if column not in ("hour_utc", "model"):
                    writer.writerow([*said, f"{table}.{column}", *keys, finite(value)])


def _print_tables(seen: _Seen, reading: "Reading | str | None") -> None:
    from features import catalog

    known_s = (seen.moment_ms - seen.available_ms) / 1000
    common.say(f"moment       {common.when(seen.moment_ms)}")
    common.say(f"snapshot     {seen.snapshot_id}, {seen.availability}")
    age_s = seen.age_ms / 1000
    age = f"{common.span(age_s)} old at T" if age_s >= 0 else aged(age_s, "T")
    common.say(f"as of        {common.when(seen.as_of_ms)}, {age}")
    common.say(
        f"available    since {common.when(seen.available_ms)}, {common.span(known_s)} before T"
    )
    if reading is not None:
        _print_engine(seen, reading)
    for name, rows in seen.tables.items():
        if not rows:
            continue
        table = catalog.tables()[name]
        keys = table.grain[1:]
        common.show_table(
            f"{name}: {table.what}",
            ("column", *(_key(row, keys) for row in rows), "meaning"),
            [
                (column, *(_written(row[column]) for row in rows), meaning)
                for column, meaning in table.columns.items()
                if column not in table.grain
            ],
            has_words=True,
        )
    without = [name for name, rows in seen.tables.items() if not rows]
    if without:
        common.say()
        common.say(f"no row of {seen.symbol} for that moment in: {', '.join(without)}")


def _print_engine(seen: _Seen, reading: "Reading | str") -> None:
    from features.explain import MAKER_FIRST
    from pipelines.commands.health import style_of

    if isinstance(reading, str):
        common.say(f"engines      cannot be told: {reading}", style="yellow")
        return
    words = on_status(reading.status, reduces_only=reading.reduce_only, is_ahead=seen.age_ms < 0)
    common.say(f"engines      {reading.status}, {words}", style=style_of(reading.status))
    acting, hour = reading.acting, seen.hour_utc
    common.say(
        f"             size {number(acting.size_factor)} × target;"
        f" offset at {hour:02d} UTC {number(acting.offsets_bps[hour])} bps;"
        f" router {acting.quality}, {MAKER_FIRST[acting.maker_first]}, {acting.taker_bias}"
    )


def _key(row: Row, keys: tuple[str, ...]) -> str:
    """Head a row's column by its keys beyond the symbol."""
    words = []
    for key in keys:
        value = row[key]
        if key == "hour_utc":
            value = "all hours" if value == _ALL_HOURS else f"{value:02d} UTC"
        words.append(str(value))
    return ", ".join(words) or "value"


def _written(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value
