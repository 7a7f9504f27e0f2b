"""AccuracyAnalyzer: the accuracy tables for people with trace files or frames rather than a lake.

Put here: loading traces and asking the SQL files about them. Keep out: what the numbers mean
(features/sql), which lines are bad (intake/kinds.py), the objects returned (accuracy_results.py).
"""

import datetime as dt
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import duckdb
import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from features import catalog, params
from features import traces as prediction_traces
from features.engines import duckdb as engine
from features.settings import SECRET_PATTERNS, LogFolder
from live.telemetry import COLUMNS, PredictionTrace, at_utc
from pipelines.accuracy_results import AccuracyMetrics, Comparison
from pipelines.intake import decode, lines, sources
from pipelines.intake.kinds import TRACES_CSV, Column

Paths = Path | str | Sequence[Path | str]
_SCHEMA = pa.schema(
    [f for f in decode.raw_schema(TRACES_CSV) if f.name != decode.PART_COLUMN]
).remove_metadata()
_FAR_MS = 1 << 52  # frames say nothing of when they were read: no trade of theirs ends too late
_ENVIRONMENT = "files"  # what a person loads together is counted together
# What calibration reads of the execution tables: nothing is known here of what trading costs.
NO_ORDERS = (
    "CREATE TEMP TABLE core_execution__outcomes (environment VARCHAR, account VARCHAR,"
    " strategy VARCHAR, symbol VARCHAR, side VARCHAR, position_side VARCHAR, attempt_id VARCHAR,"
    " event_ms BIGINT, close_ms BIGINT, close_n BIGINT, realized_pnl_usd DOUBLE,"
    " closed_notional_usd DOUBLE, position_size_after DOUBLE)"
)
_NO_COSTS = (
    "CREATE TEMP TABLE feat_execution__slippage_quartiles"
    " (symbol VARCHAR, hour_utc INTEGER, slip_bps_mean_w50 DOUBLE)",
    "CREATE TEMP TABLE feat_symbol__scores (symbol VARCHAR, model VARCHAR, fee_bps DOUBLE)",
)


class TraceError(ValueError):
    """The traces cannot answer what was asked; the text says what is missing."""


@dataclass(frozen=True)
class Traces(Sequence[PredictionTrace]):
    """Prediction traces: a sequence of PredictionTrace in order of time, joined by ``+``.

    ``rows`` are in the shape of raw_telemetry__traces, rejected ones included; those are not
    part of the sequence. Objects are made as they are asked for.
    """

    rows: pa.Table

    @property
    def accepted(self) -> pa.Table:
        kept = self.rows.filter(pc.is_null(self.rows["reject_reason"]))
        return kept.sort_by(
            [(name, "ascending") for name in ("event_ms", "source_id", "line_offset")]
        )

    @property
    def frame(self) -> pl.DataFrame:
        """Return the accepted traces as a Polars frame with a UTC timestamp."""
        rows = cast(pl.DataFrame, pl.from_arrow(self.accepted))
        stamp = pl.from_epoch("event_ms", time_unit="ms").dt.replace_time_zone("UTC")
        return rows.select(stamp.alias("timestamp"), *COLUMNS[1:])

    @property
    def rejected(self) -> dict[str, int]:
        """Return how many lines were left out, by reason."""
        counts = pc.value_counts(self.rows["reject_reason"].drop_null()).to_pylist()
        return {item["values"]: item["counts"] for item in counts}

    def of_strategy(self, strategy: str) -> "Traces":
        return Traces(self.rows.filter(pc.equal(self.rows["strategy"], strategy)))

    def __len__(self) -> int:
        return int(self.rows["reject_reason"].null_count)

    def __iter__(self) -> Iterator[PredictionTrace]:
        for batch in self.accepted.to_batches(max_chunksize=10_000):
            yield from map(_trace, batch.to_pylist())

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return list(self)[place]
        row = self.accepted.slice(range(len(self))[place], 1).to_pylist()[0]
        return _trace(row)

    def __add__(self, other: "Traces") -> "Traces":
        return Traces(pa.concat_tables([self.rows, other.rows]))


def _trace(row: Mapping[str, Any]) -> PredictionTrace:
    return PredictionTrace(
        timestamp=at_utc(row["event_ms"]),
        features=msgspec.json.decode(row["features_json"] or "{}"),
        metadata=msgspec.json.decode(row["metadata_json"] or "{}"),
        **{name: row[name] for name in COLUMNS[1:10]},
    )


InMemory = Traces | pl.DataFrame | Iterable[PredictionTrace]
AnyTraces = InMemory | Path | str


class AccuracyAnalyzer:
    """Answer what a snapshot's accuracy tables say, over trace files, frames or objects.

    The same SQL computes both; ``overrides`` are parameters as under [params] of execintel.toml,
    such as {"intraday_telemetry_threshold": 0.002}.
    """

    def __init__(
        self, overrides: Mapping[str, Any] | None = None, *, memory_limit_mb: int = 1024
    ) -> None:
        """Raise ParameterError for an override that is no parameter or out of range."""
        self.params = params.load(overrides or {})
        self.memory_limit_mb = memory_limit_mb

    def load_traces(self, path: Paths, strategy: str | None = None) -> Traces:
        """Read trace files, or every trace file below folders, as the intake reads them.

        Args:
            path: one or several files (traces_{strategy}_{n}.csv or .jsonl, also .gz) or folders.
            strategy: keep this strategy alone; None or "both" keeps all.

        Raises TraceError where a path holds no trace file or one cannot be read.
        """
        found = [path] if isinstance(path, str | Path) else list(path)
        committed: dict[str, int] = {}
        pieces = [_SCHEMA.empty_table()]
        with decode.connect(SECRET_PATTERNS, self.memory_limit_mb) as con:
            for each in found:
                for file in trace_files(Path(each)):
                    try:
                        pieces += _read(con, file, committed)
                    except lines.UnreadableFile as error:
                        raise TraceError(str(error)) from error
        traces_ = Traces(pa.concat_tables(pieces))
        return traces_ if strategy in (None, "both") else traces_.of_strategy(str(strategy))

    def compute_metrics(
        self, traces: AnyTraces, group_by_strategy: bool = False
    ) -> AccuracyMetrics | dict[str, AccuracyMetrics]:
        """Return the metrics of all traces together, or by strategy."""
        rows = self.tables(traces)["feat_telemetry__accuracy"]
        if not group_by_strategy:
            return AccuracyMetrics.of(_one(rows, "*"))
        names = sorted({row["strategy"] for row in rows} - {"*"})
        return {name: AccuracyMetrics.of(_one(rows, name)) for name in names}

    def compute_comparative_metrics(
        self, traces: AnyTraces, strategies: tuple[str, str] = ("intraday", "swing")
    ) -> dict[str, Any]:
        """Return the metrics of two strategies under their names, and under "comparison" a dict.

        Its deltas are the first strategy less the second; Comparison lists its keys.

        Raises TraceError where one of them has no closed trace.
        """
        tables = self.tables(traces)
        both = {name: _one(tables["feat_telemetry__accuracy"], name) for name in strategies}
        for name, row in both.items():
            if not row["n"]:
                raise TraceError(
                    f"no closed trace of strategy {name}: a comparison needs both "
                    f"{' and '.join(strategies)}"
                )
        first, second = strategies
        pairs = {
            (row["strategy"], row["other_strategy"]): row
            for row in tables["feat_telemetry__comparison"]
            if row["window"] == "all"
        }
        compared = Comparison.of(pairs[min(strategies), max(strategies)], first, second)
        metrics = {name: AccuracyMetrics.of(row) for name, row in both.items()}
        return {**metrics, "comparison": compared}

    def tables(self, traces: AnyTraces) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of every feat_telemetry__ table over these traces, by table."""
        return {name: rows.to_pylist() for name, rows in self.arrow_tables(traces).items()}

    def arrow_tables(self, traces: AnyTraces) -> dict[str, pa.Table]:
        """Return the same as Arrow tables."""
        with engine.connect(memory_limit_mb=self.memory_limit_mb) as con:
            loaded = self.load_traces(traces) if isinstance(traces, str | Path) else traces
            con.register("loaded_traces", _rows(con, loaded))
            con.execute(
                f"CREATE TEMP VIEW {prediction_traces.RAW} AS"
                f" SELECT * REPLACE ('{_ENVIRONMENT}' AS environment) FROM loaded_traces"
            )
            as_of_ms = prediction_traces.build_in_memory(con, self.params)
            values = {**self.params, "as_of_ms": as_of_ms, "environment": _ENVIRONMENT}
            con.execute(NO_ORDERS)
            prediction_traces.set_up(con, values)
            for statement in _NO_COSTS:
                con.execute(statement)
            return {
                table.name: _answer(con, table, values)
                for table in catalog.layer("feat")
                if table.name.startswith("feat_telemetry__")
            }


def _answer(
    con: duckdb.DuckDBPyConnection, table: catalog.Table, values: Mapping[str, Any]
) -> pa.Table:
    """Run a feature table's SQL and leave its rows for the tables that read it."""
    bound = engine.bind(table.sql, table.params, values)
    rows = con.sql(table.sql, params=bound).to_arrow_table()
    con.register(table.name, rows)
    return rows


def _one(rows: Iterable[Mapping[str, Any]], strategy: str) -> Mapping[str, Any]:
    """Return the row of a strategy over all symbols and times; of none at all, one without n."""
    for row in rows:
        if (row["strategy"], row["symbol"], row["window"]) == (strategy, "*", "all"):
            return row
    return {"strategy": strategy, "symbol": "*", "window": "all", "n": 0}


# ---------------------------------------------------------------------------------------- loading


def trace_files(path: Path) -> list[sources.LogFile]:
    """List the trace files that a path names or holds, in the order that the intake takes.

    Raises TraceError where there is none.
    """
    folder = path if path.is_dir() else path.parent
    found = sources.discover([LogFolder(path=folder)]).files if path.exists() else []
    files = [f for f in found if f.kind.table == prediction_traces.RAW]
    if not path.is_dir():
        files = [f for f in files if f.path == path.expanduser().absolute()]
    if not files:
        raise TraceError(
            f"{path} holds no trace file: they are named traces_STRATEGY_N.csv or .jsonl, also .gz"
        )
    return files


def _read(
    con: duckdb.DuckDBPyConnection, file: sources.LogFile, committed: dict[str, int]
) -> Iterator[pa.Table]:
    """Decode what a file has beyond the copies of it that were read before."""
    with lines.LogReader(file.path) as reader:
        source = sources.resolve(file, reader, committed.get)
        if source is None:
            return
        for chunk in reader.chunks(source.offset):
            read_ms = time.time_ns() // 1_000_000
            origin = decode.origin_of(file, source, ingest_seq=1, ingested_ms=read_ms)
            rows = decode.decode(con, origin, chunk).drop_columns([decode.PART_COLUMN])
            yield rows.replace_schema_metadata().cast(_SCHEMA)
            committed[source.source_id] = chunk.end
            committed[f"{source.source_id}:tail"] = sources.digest_63(chunk.tail)


def _rows(con: duckdb.DuckDBPyConnection, traces: InMemory) -> pa.Table:
    """Bring traces of any form into the shape of raw_telemetry__traces, judged by its rules."""
    if isinstance(traces, Traces):
        return traces.rows
    if isinstance(traces, pl.DataFrame):
        return _of_frame(con, traces)
    return _of_frame(con, _frame_of(traces))


def _frame_of(traces: Iterable[PredictionTrace]) -> pl.DataFrame:
    """Lay objects out in columns; anything with the attributes of a PredictionTrace will do."""
    rows = [
        [
            as_utc(trace.timestamp),
            *(getattr(trace, name) for name in COLUMNS[1:10]),
            msgspec.json.encode(getattr(trace, "metadata", {}), enc_hook=str).decode(),
        ]
        for trace in traces
    ]
    texts = (*COLUMNS[1:5], "metadata_json")
    schema: dict[str, pl.DataType] = {"timestamp": pl.Datetime("ms", "UTC")}
    for name in [*COLUMNS[1:10], "metadata_json"]:
        schema[name] = pl.String() if name in texts else pl.Float64()
    return pl.DataFrame(rows, schema=schema, orient="row", strict=False)


def as_utc(moment: dt.datetime) -> dt.datetime:
    """Return a moment with its zone; one without is UTC."""
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def _typed(column: Column, given: set[str]) -> str:
    """Write a column of a frame, or NULL where the frame does not have it, in its type."""
    kind = "DOUBLE" if column.type in ("number", "amount") else "VARCHAR"
    source = column.name if column.name in given else "NULL"
    if column.within in given:
        text = f"CASE WHEN json_valid({column.within}) THEN {column.within} END"
        source = f"TRY_CAST(json_extract_string({text}, '$.{column.name}') AS DOUBLE)"
    return f"CAST({source} AS {kind}) AS {column.name}"


def _of_frame(con: duckdb.DuckDBPyConnection, frame: pl.DataFrame) -> pa.Table:
    """Turn a frame with the columns of a trace file into raw rows.

    Raises TraceError for a frame that lacks one of them.
    """
    missing = [name for name in COLUMNS[:10] if name not in frame.columns]
    if missing:
        raise TraceError(
            f"the frame lacks {', '.join(missing)}; it needs {', '.join(COLUMNS[:10])}"
        )
    con.register("frame_rows", frame.to_arrow())
    whens = " ".join(f"WHEN {rule.sql} THEN '{rule.reason}'" for rule in TRACES_CSV.rules)
    typed = [_typed(column, set(frame.columns)) for column in TRACES_CSV.columns]
    judged = con.sql(
        f"""
        WITH placed AS (
            SELECT epoch_ms(CAST(timestamp AS TIMESTAMPTZ)) AS event_ms, upper(symbol) AS symbol,
                {", ".join(typed)}
            FROM frame_rows
        ),
        numbered AS (SELECT *, row_number() OVER () AS line_offset FROM placed)
        SELECT *, 'frame' AS source_id, 1::BIGINT AS ingest_seq,
            CASE WHEN event_ms IS NULL THEN 'missing_time'
                 WHEN COALESCE(symbol, '') IN ('', '*') THEN 'missing_symbol'
                 {whens} END AS reject_reason
        FROM numbered
        """,
        params={"ingested_ms": _FAR_MS},
    ).to_arrow_table()
    columns = [
        judged[f.name].cast(f.type)
        if f.name in judged.column_names
        else pa.nulls(len(judged), f.type)
        for f in _SCHEMA
    ]
    return pa.table(columns, schema=_SCHEMA)
