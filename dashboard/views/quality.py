"""The page Data quality: what came in, what was refused, what the logs explain, what is kept.

Put here: the order of its parts. Keep out: what they say (quality.py), reading (data.py).
"""

from collections.abc import Callable

import polars as pl
import streamlit as st

from dashboard import cards, data_kept, panels, quality, session
from dashboard.data import View
from dashboard.data_kept import Kept, SnapshotError

_PAGE = 20
_LINES = 10  # rejected lines of a page; each is up to a screen
_LINE_CHARS = 500
STATUS_PX = 140  # of the longest: missing, required
_QUANTITIES = {  # of an instrument: 0.00002 of one is not nothing
    name: st.column_config.NumberColumn(format="%.6g")
    for name in ("before", "after", "fills", "unexplained")
}
_Tables = dict[str, pl.DataFrame]


def render(view: View) -> None:
    """Show the page."""
    panels.head("Data quality", view)
    part = st.segmented_control(
        "Part",
        list(_PARTS),
        default="Sources",
        required=True,
        key="part",
        bind="query-params",
        label_visibility="collapsed",
    )
    shown = _PARTS[part or "Sources"](view)
    if shown:
        panels.export(f"quality-{(part or 'Sources').lower()}", view, shown)


def _without(view: View, what: str) -> None:
    """Say why a part of the page is not there."""
    if view.snapshot_id is None:
        panels.empty(f"{what} shown once there is a snapshot.")
    else:
        panels.without_tables(view, what)


# ---------------------------------------------------------------------------------------- sources


def _sources(view: View) -> _Tables:
    rows = view.table("feat_ops__source_freshness")
    if rows.is_empty():
        _without(view, "Sources are")
        return {}
    bad = rows.filter((pl.col("symbol") == "*") & (pl.col("status") != "ok")).height
    total = rows.filter(symbol="*").height
    panels.badge(
        f"{total - bad} of {total} sources ok" if bad else f"all {total} sources ok",
        level="warn" if bad else "ok",
    )
    cards.either(
        quality.sources(rows), key="sources", title="source", status="status", height="content",
        columns={"status": st.column_config.TextColumn(width=STATUS_PX)},
    )  # fmt: skip
    st.caption("Ages in event time, counted up to the snapshot's as-of; counts of its window.")
    st.subheader("Age of the newest event by symbol", anchor=False)
    symbol = panels.symbol_select(view, none="All symbols")
    chosen = rows if symbol is None else rows.filter(pl.col("symbol").is_in(["*", symbol]))
    lags = quality.lags(chosen)
    if lags.is_empty():
        panels.empty("No source names this symbol within the window.")
        return {"sources": rows}
    st.altair_chart(
        quality.lag_chart(chosen),
        key="lags",
        alt="Age of the newest event of each symbol by source, with each source's limit",
    )
    st.caption("A mark a symbol; the grey bar is the longest silence that is allowed.")
    cards.either(
        lags, key="lag table", title="symbol", status="status", page_rows=_PAGE, height="content"
    )
    return {"sources": chosen}


# ------------------------------------------------------------------------------------- quarantine


def _quarantine(view: View) -> _Tables:
    if not view.has_tables:
        _without(view, "Rejected lines are")
        return {}
    try:
        return _rejected(view)
    except SnapshotError as error:
        panels.empty(
            f"Rejected lines cannot be read: {panels.md(error, limit=1000)}. Was the lake moved?"
            " execintel snapshots relocate FOLDER"
        )
        return {}


def _rejected(view: View) -> _Tables:
    counts = _counts(view, view.snapshot_id)
    if counts.is_empty():
        panels.badge("no rejected line", level="ok")
        return {}
    reasons = quality.reasons(counts)
    st.caption(
        f"n = {counts['n'].sum():,} lines were rejected of all that this snapshot was computed"
        " from; each is kept, none counts."
    )
    cards.either(reasons, key="reasons", title="source", status="reason", height="content")
    st.subheader("Lines", anchor=False)
    kinds = [f"{row['source']}: {row['reason']}" for row in reasons.iter_rows(named=True)]
    kind = st.selectbox("Source and reason", kinds, format_func=panels.clip, key="kind")
    chosen = reasons.row(kinds.index(kind), named=True) if kind in kinds else None
    if chosen is None:
        return {"quarantine": reasons}
    st.caption(f"To mend: {panels.md(chosen['mend'])}")
    pages = -(-chosen["lines (n)"] // _LINES)
    page = st.pagination(pages, key=f"lines of {kind}") if pages > 1 else 1
    lines = quality.lines_of(view, chosen["source"], chosen["reason"], _LINES, (page - 1) * _LINES)
    for row in lines.iter_rows(named=True):
        cut = f", {row['chars']:,} characters" if (row["chars"] or 0) > _LINE_CHARS else ""
        st.caption(panels.md(f"{row['source_name']}, offset {row['line_offset']}{cut}"))
        st.code(panels.clip(row["line"], _LINE_CHARS), language=None, wrap_lines=True)
    return {"quarantine": reasons, "lines": lines}


@st.cache_data(max_entries=4, show_spinner="Counting rejected lines …")
def _counts(_view: View, snapshot_id: str | None) -> pl.DataFrame:
    return quality.rejected(_view)


# ----------------------------------------------------------------------------------------- checks


def _checks(view: View) -> _Tables:
    kept = session.kept()
    shown: _Tables = {}
    if view.manifest:
        frame = quality.checks(view.manifest)
        passed = frame.filter(pl.col("rows (n)") == 0).height
        panels.badge(
            f"{passed} of {frame.height} checks passed",
            level="ok" if passed == frame.height else "warn",
        )
        _found(frame)
        with st.expander(f"All {frame.height} checks"):
            cards.either(frame, key="checks", title="check", status="result")
        shown["checks"] = frame
    refused = [] if kept is None or view.is_past else kept.refused()
    st.subheader("Refused builds", anchor=False)
    if view.is_past:
        st.caption("Builds that were refused are shown of the present only.")
    elif not refused:
        st.caption("None: no check has refused a build of those kept.")
    for manifest in refused:
        words = f"{manifest['snapshot_id']}, refused by {', '.join(manifest['failed_checks'])}"
        with st.expander(panels.md(words), expanded=manifest is refused[0]):
            _found(quality.checks(manifest))
    return shown


def _found(checks: pl.DataFrame) -> None:
    """Show the checks that found something whole: cause and examples are long."""
    for row in checks.filter(pl.col("rows (n)") > 0).iter_rows(named=True):
        with st.container(border=True):
            st.markdown(
                f"**{panels.md(row['check'])}** · {row['result']} · n = {row['rows (n)']:,} rows"
            )
            st.markdown(panels.md(row["cause"], limit=1000))
            if row["examples"]:
                st.caption(panels.md(f"such as {row['examples']}", limit=1000))


# ----------------------------------------------------------------------------------- the account


def _reconciliation(view: View) -> _Tables:
    coverage = view.table("feat_account__coverage")
    changes = view.table("core_position__reconciliation")
    if coverage.is_empty():
        if view.has_tables:
            panels.empty("The window holds no line of an account: there is nothing to explain.")
        else:
            _without(view, "Reconciliation is")
        return {}
    for row in coverage.filter(day="*").sort("account").iter_rows(named=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{panels.md(panels.clip(row['account']))}**")
            panels.badge(row["status"])
            st.caption(panels.md(quality.explained(row, quality.pending(changes, row["account"]))))
    cards.either(
        quality.coverage(coverage), key="coverage", title="day", status="status",
        page_rows=_PAGE, height="content",
    )  # fmt: skip
    st.caption(
        "USD. Of PnL and of positions: the share that logged fills, fees and funding explain."
    )
    st.subheader("Position changes", anchor=False)
    cards.either(quality.causes(changes), key="causes", title="likely cause", height="content")
    unexplained = quality.unexplained(changes)
    if unexplained.is_empty():
        panels.badge("every position change that was seen again is explained", level="ok")
    else:
        cards.either(
            unexplained, key="unexplained", title="symbol", status="side",
            page_rows=_PAGE, height="content", columns=_QUANTITIES,
        )  # fmt: skip
    return {"coverage": coverage, "unexplained": unexplained}


# -------------------------------------------------------------------------------------- snapshots


def _snapshots(view: View) -> _Tables:
    kept = session.kept()
    ids = [] if kept is None else kept.newest_first()
    if kept is None or not ids:
        panels.empty("No snapshot is kept here: execintel refresh makes the first.")
        return {}
    pages = -(-len(ids) // _PAGE)
    page = st.pagination(pages, key="snapshots page") if pages > 1 else 1
    made = session.source().publications()
    lines = kept.described(ids[(page - 1) * _PAGE : page * _PAGE], made)
    frame = quality.snapshots(lines)
    now = " The list is of the present." if view.is_past else ""
    st.caption(f"n = {len(ids):,} kept whole, the newest as-of first.{now}")
    cards.either(frame, key="snapshots", title="snapshot", status="state", height="content")
    return {"snapshots": frame} | _difference(view, kept, ids)


def _difference(view: View, kept: Kept, ids: list[str]) -> _Tables:
    st.subheader("What differs between two", anchor=False)
    if len(ids) < 2:
        panels.empty("One snapshot alone: there is nothing to compare it with.")
        return {}
    shown = ids.index(view.snapshot_id) if view.snapshot_id in ids else 0
    left, right = st.columns(2)
    before = left.selectbox("Before", ids, index=min(shown + 1, len(ids) - 1), key="before")
    after = right.selectbox("After", ids, index=shown, key="after")
    if before == after or not st.toggle("Compare them", key="compare"):
        return {}
    try:
        tables, values = _compared(kept, before, after)
    except SnapshotError as error:
        panels.empty(panels.md(error, limit=1000))
        return {}
    if tables.is_empty():
        panels.badge("equal rows in every table", level="ok")
        return {}
    cards.either(tables, key="differing tables", title="of table", height="content")
    st.caption(f"Changed values, at most {data_kept.EXAMPLES} of a table:")
    cards.either(
        values, key="differing values", title="of table", status="column",
        page_rows=_PAGE, height="content",
    )  # fmt: skip
    return {"differing tables": tables, "differing values": values}


@st.cache_data(max_entries=4, show_spinner="Comparing every row …")
def _compared(_kept: Kept, before: str, after: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    return quality.differences(_kept.differences(before, after))


_PARTS: dict[str, Callable[[View], _Tables]] = {
    "Sources": _sources,
    "Quarantine": _quarantine,
    "Checks": _checks,
    "Reconciliation": _reconciliation,
    "Snapshots": _snapshots,
}
