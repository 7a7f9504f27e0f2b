"""What the Data quality page says: sources, lags, rejected lines, checks, coverage, snapshots.

Put here: pure functions from rows of a snapshot to what is shown. Keep out: reading (data.py), what
counts as silent, rejected or explained (features/sql, features/checks).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import altair as alt
import polars as pl

from dashboard import frames
from dashboard.accuracy_charts import COLOURS
from dashboard.data import View
from dashboard.panels import mark, source_mark
from features.reasons import mending
from features.words import (
    MARKS,
    UNKNOWN,
    interval,
    likely_missing,
    minute,
    number,
    share,
    share_range,
    span,
    what_is_missing,
)


def sources(freshness: pl.DataFrame) -> pl.DataFrame:
    """Return a line a source, the worst first: state, newest event, age, limit and counts."""
    rows = freshness.filter(pl.col("symbol") == "*").sort(
        pl.col("status") == "ok", ~pl.col("required"), "source"
    )
    lines = [
        {
            "source": row["source"],
            "status": source_mark(row["status"], is_required=row["required"]),
            "age": span(row["lag_s"]),
            "allowed": span(row["max_silence_s"]),
            "newest event, UTC": _utc(row["last_event_at_utc"]),
            "lines (n)": row["n"],
            "accepted, 24 h": row["rows_24h"],
            "rejected, 24 h": row["rejected_24h"],
            "rejected without time": row["undated_n"],
        }
        for row in rows.iter_rows(named=True)
    ]
    return pl.DataFrame(lines, infer_schema_length=None)


def lags(freshness: pl.DataFrame) -> pl.DataFrame:
    """Return a line a source and symbol, the longest silence against its limit first."""
    rows = freshness.filter(pl.col("symbol") != "*").with_columns(
        share=pl.col("lag_s") / pl.col("max_silence_s")
    )
    lines = [
        {
            "symbol": row["symbol"],
            "source": row["source"],
            "status": mark(row["status"]),
            "age": span(row["lag_s"]),
            "of allowed": UNKNOWN if row["share"] is None else f"{number(100 * row['share'], 1)} %",
            "newest event, UTC": _utc(row["last_event_at_utc"]),
            "lines (n)": row["n"],
            "rejected, 24 h": row["rejected_24h"],
        }
        for row in rows.sort("share", descending=True, nulls_last=False).iter_rows(named=True)
    ]
    return pl.DataFrame(lines, infer_schema_length=None)


def lag_chart(freshness: pl.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw a tick a symbol at the age of its newest event, by source, and each source's limit."""
    rows = freshness.filter((pl.col("symbol") != "*") & pl.col("lag_s").is_not_null())
    rows = rows.select(
        "source",
        "symbol",
        "status",
        "n",
        pl.max_horizontal(pl.col("lag_s") / 60, pl.lit(1 / 60)).alias("lag_min"),
        (pl.col("max_silence_s") / 60).alias("limit_min"),
    )
    base = alt.Chart(rows).encode(y=alt.Y("source:N", title=None, axis=alt.Axis(labelLimit=160)))
    age = alt.X(
        "lag_min:Q",
        title="minutes old (log scale)",
        scale=alt.Scale(type="log"),
        axis=alt.Axis(format=",~f", tickCount=5, labelOverlap=True),  # of SI, 10m is 0.01
    )
    colour = alt.Color(
        "status:N",
        scale=alt.Scale(domain=["ok", "silent"], range=list(COLOURS[:2])),
        legend=alt.Legend(orient="top", title=None),
    )
    shape = alt.Shape(
        "status:N", scale=alt.Scale(domain=["ok", "silent"], range=["circle", "cross"])
    )
    point = base.mark_point(filled=True, size=70, opacity=0.9).encode(
        x=age,
        color=colour,
        shape=shape,
        tooltip=[
            alt.Tooltip("symbol:N"),
            alt.Tooltip("source:N"),
            alt.Tooltip("status:N"),
            alt.Tooltip("lag_min:Q", format=",.1f", title="age, min"),
            alt.Tooltip("limit_min:Q", format=",.0f", title="allowed, min"),
            alt.Tooltip("n:Q", format=",", title="lines, n"),
        ],
    )
    limit = base.mark_tick(thickness=3, size=22, color="gray").encode(x="max(limit_min):Q")
    return alt.layer(limit, point).properties(height=alt.Step(34))


# ------------------------------------------------------------------------------------- quarantine


def reasons(counts: pl.DataFrame) -> pl.DataFrame:
    """Return rejected lines by source and reason, the most first, and how to mend each.

    ``counts`` has source, reject_reason, n.
    """
    lines = [
        {
            "source": row["source"],
            "reason": row["reject_reason"],
            "lines (n)": row["n"],
            "mend": _mending(row["reject_reason"]),
        }
        for row in counts.sort("n", "source", descending=[True, False]).iter_rows(named=True)
    ]
    return pl.DataFrame(lines, infer_schema_length=None)


def rejected(view: View) -> pl.DataFrame:
    """Return how many lines of all that were read were rejected: source, reject_reason, n.

    Raises SnapshotError where the lake's files are gone.
    """
    counts = [
        f"SELECT '{name}' AS source, reject_reason, COUNT(*) AS n FROM {name}"
        " WHERE reject_reason IS NOT NULL GROUP BY reject_reason"
        for name in _raw(view)
    ]
    return view.query(" UNION ALL ".join(counts)) if counts else pl.DataFrame()


def lines_of(view: View, source: str, reason: str, limit: int, offset: int) -> pl.DataFrame:
    """Return some rejected lines of a source and reason, those read last first.

    Columns: source_name, line_offset, line (its first 1000 characters), chars. Raises
    SnapshotError where the lake's files are gone, ValueError for a source that is none.
    """
    table = _raw(view)[_raw(view).index(source)]  # never a name that is no table's
    return view.query(
        "SELECT source_name, line_offset, left(raw_line, 1000) AS line, length(raw_line) AS chars"
        f" FROM {table} WHERE reject_reason = $reason"
        " ORDER BY ingest_seq DESC, source_name, line_offset LIMIT $limit OFFSET $offset",
        reason=reason,
        limit=limit,
        offset=offset,
    )


def _raw(view: View) -> list[str]:
    return [name for name in view.manifest["inputs"] if name.startswith("raw_")]


def _mending(reason: str) -> str:
    try:
        return mending(reason)
    except KeyError:  # of a release that knew another reason
        return "no advice is known for this reason"


# ----------------------------------------------------------------------------------------- checks


def checks(manifest: Mapping[str, Any]) -> pl.DataFrame:
    """Return a line a check of a build: what it found, how bad, the likely cause, examples."""
    found = sorted(manifest["checks"], key=lambda each: (-bool(each["rows"]), each["name"]))
    lines = [
        {
            "check": each["name"],
            "result": _result(each, manifest),
            "rows (n)": each["rows"],
            "cause": each["cause"],
            "examples": "; ".join(str(example) for example in each["examples"]),
        }
        for each in found
    ]
    return pl.DataFrame(lines, infer_schema_length=None)


def _result(check: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    if not check["rows"]:
        return mark("ok")
    if check["name"] in manifest["failed_checks"]:
        return f"{MARKS['bad']} refused the build"
    if check["name"] in manifest.get("held_checks", []):
        return f"{MARKS['warn']} held for a person"
    return f"{MARKS['warn']} warns"


# --------------------------------------------------------------------------------------- coverage


def coverage(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a line an account and day of what the logs explain, the window first; USD."""
    lines = []
    for row in rows.sort("account", "day").iter_rows(named=True):
        low, high = row["unexplained_lo_usd"], row["unexplained_hi_usd"]
        lines.append(
            {
                "day": "window" if row["day"] == "*" else row["day"],
                "status": mark(row["status"]),
                "of PnL": share_range(row["pnl_explained_lo"], row["pnl_explained_hi"]),
                "of positions": share(row["position_explained_ratio"]),
                "position changes (n)": row["position_change_n"],
                "NAV change": number(row["nav_change_usd"]),
                "NAVs (n)": row["n"],
                "PnL before fees": number(row["realized_pnl_usd"] if row["close_n"] else None),
                "closes with PnL (n)": f"{row['pnl_known_n']} of {row['close_n']}",
                "fees": number(row["fees_usd"] if row["trade_n"] else None),
                "fees known (n)": f"{row['fees_known_n']} of {row['trade_n']}",
                "unrealised": number(row["unrealized_change_usd"]),
                "unexplained": number(low) if low == high else interval(low, high),
                "likely missing": likely_missing(row["likely_cause"]),
                "account": row["account"],
            }
        )
    return pl.DataFrame(lines, infer_schema_length=None)


def explained(row: Mapping[str, Any], pending_n: int) -> str:
    """Say what of an account's window is explained, from its row of feat_account__coverage.

    ``pending_n`` changes are in neither of its counts: see ``pending``.
    """
    known = "an unknown share" if row["coverage"] is None else share(row["coverage"])
    changes = f"{row['position_unexplained_n']} of {row['position_change_n']} position changes"
    cause = f". {what_is_missing(row['likely_cause'])}" if row["likely_cause"] else ""
    unknown = f"; of {pending_n} more it is unknown, {_PENDING}" if pending_n else ""
    return f"the logs explain {known}; fills do not explain {changes}{unknown}{cause}"


def pending(rows: pl.DataFrame, account: str) -> int:
    """Return of how many changes of an account nobody knows yet whether fills explain them."""
    return rows.filter(pl.col("is_explained").is_null(), account=account).height


def unexplained(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the position changes that fills do not explain, the newest first."""

    def utc(name: str) -> pl.Expr:
        moment = pl.from_epoch(name, time_unit="ms").dt.strftime("%Y-%m-%d %H:%M")
        return moment.fill_null(UNKNOWN)

    found = rows.filter(pl.col("cause").is_not_null()).sort("from_ms", descending=True)
    return frames.rounded(found, {"unexplained_usd": 2, "pnl_missing_usd": 2}).select(
        "symbol",
        pl.col("position_side").alias("side"),
        pl.col("unexplained_usd").alias("unexplained, USD"),
        utc("from_ms").alias("seen, UTC"),
        utc("to_ms").alias("seen again"),
        pl.col("qty_before").alias("before"),
        pl.col("qty_after").alias("after"),
        pl.col("explained_qty").alias("fills"),
        pl.col("fill_n").alias("fills (n)"),
        pl.col("unexplained_qty").alias("unexplained"),
        pl.col("pnl_missing_usd").alias("PnL missing, USD"),
        pl.col("cause").str.replace_all("_", " ").alias("likely cause"),
        "account",
    )


def causes(rows: pl.DataFrame) -> pl.DataFrame:
    """Return how many position changes have which likely cause, the most first.

    Of one that fills explain only the line of its close can be missing; one whose position was not
    seen again has no cause and is not explained either.
    """
    cause = pl.col("cause").str.replace_all("_", " ")
    found = (
        rows.with_columns(
            pl.when(pl.col("is_explained").is_null())
            .then(pl.lit(f"unknown, {_PENDING}"))
            .when("is_explained")
            .then(pl.concat_str(pl.lit("explained by fills"), cause.fill_null(""), separator=", "))
            .otherwise(cause)
            .str.strip_suffix(", ")
            .alias("cause")
        )
        .group_by("cause")
        .agg(pl.len().alias("changes (n)"), _known_sum("unexplained_usd"))
        .sort("changes (n)", "cause", descending=[True, False])
    )
    names = {"cause": "likely cause", "unexplained_usd": "unexplained, USD"}
    return frames.rounded(found, {"unexplained_usd": 2}).rename(names)


_PENDING = "position not seen again yet"


def _known_sum(name: str) -> pl.Expr:
    """Sum a column of US dollars; of unknown values alone it is unknown, not 0."""
    known = pl.col(name).drop_nulls()
    return pl.when(known.len() > 0).then(known.sum()).alias(name)


def _utc(moment: Any) -> str:
    return UNKNOWN if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


# -------------------------------------------------------------------------------------- snapshots


def snapshots(lines: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return kept snapshots as text, in the order given; see data_kept.described."""
    return pl.DataFrame(
        [
            {
                "snapshot": line["snapshot"],
                "state": line["state"],
                "environment": line.get("environment"),
                "as of, UTC": _minute(line.get("as_of_ms")),
                "built, UTC": _minute(line.get("built_ms")),
                "published, UTC": _minute(line.get("published_ms")),
                "by": line.get("by") or UNKNOWN,
                "symbols (n)": line.get("symbol_n"),
                "rows (n)": line.get("row_n"),
                "warnings (n)": line.get("warning_n"),
            }
            for line in lines
        ],
        infer_schema_length=None,
    )


def _minute(epoch_ms: int | None) -> str:
    return UNKNOWN if epoch_ms is None else minute(epoch_ms)


def differences(items: Iterable[Mapping[str, Any]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return what differs between two snapshots: counts by table, and the changed values."""
    tables, values = [], []
    for item in items:
        counts = {name: item[name] for name in ("added", "removed", "changed")}
        tables.append({"of table": item["table"], **counts})
        for key, column, old, new in item["examples"]:
            named = ", ".join(str(part) for part in key)
            values.append(
                {"of table": item["table"], "row": named, "column": column,
                 "before": _text(old), "after": _text(new)}
            )  # fmt: skip
    texts = dict.fromkeys(("of table", "row", "column", "before", "after"), pl.String)
    return pl.DataFrame(tables, infer_schema_length=None), pl.DataFrame(values, schema=texts)


def _text(value: object) -> str:
    return UNKNOWN if value is None else str(value)
