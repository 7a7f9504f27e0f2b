"""The page Strategies: how often each was right, what that earned, and what to look at.

Put here: the order of its parts. Keep out: what they say (accuracy.py) and how charts look
(accuracy_charts.py).
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import polars as pl
import streamlit as st

from dashboard import accuracy, accuracy_charts, cards, comparison, panels
from dashboard.accuracy import ALL, WINDOWS, Row
from dashboard.data import View
from features.words import when

_HEADLINES = (  # three stand side by side, two on a telephone
    "Precision LONG", "Recall LONG", "F1 LONG",
    "Precision SHORT", "Recall SHORT", "F1 SHORT",
    "Win rate", "Mean return", "Sharpe a year",
)  # fmt: skip
_EMPTY = (
    "No prediction traces in this snapshot. Trade or backtest with --enable-telemetry, name trace "
    "files with --telemetry-dir, or of old traces run execintel refresh --as-of T --publish."
)


def render(view: View) -> None:
    """Show the page."""
    panels.head("Strategies", view)
    rows = view.table("feat_telemetry__accuracy")
    if rows.is_empty():
        if view.has_tables:
            panels.empty(_EMPTY)
        elif view.snapshot_id is not None:
            panels.without_tables(view, "Strategies are")
        return
    z = float(view.params["z95"])
    window, symbol = _choices(view, rows)
    found = [
        (name, accuracy.find(rows, name, symbol, window)) for name in accuracy.strategies(rows)
    ]
    chosen = {name: row for name, row in found if row is not None and row["n"] + row["pending_n"]}
    if not chosen:
        panels.empty("No prediction of this symbol in this window: choose another window above.")
        return
    _overview(chosen, z)
    alerts = _alerts(view, rows)
    days = _rolling(view, list(chosen), symbol)
    _confusion(chosen)
    bins = _calibration(view, list(chosen))
    pairs = _comparison(view, rows, window, z)
    panels.export(
        "strategies",
        view,
        {
            "accuracy": pl.DataFrame(list(chosen.values()), infer_schema_length=None),
            "alerts": alerts,
            "rolling": days,
            "calibration": bins,
            "comparison": pairs,
        },
        window=window,
        symbol=symbol,
    )


def _choices(view: View, rows: pl.DataFrame) -> tuple[str, str]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        window = st.segmented_control(
            "Window",
            list(WINDOWS),
            default="30d",
            required=True,
            format_func=WINDOWS.__getitem__,
            key="window",
            bind="query-params",
        )
        symbol = panels.symbol_select(
            view, none="All symbols", symbols=sorted({*accuracy.symbols(rows), *view.symbols})
        )
    return window or "30d", symbol or ALL


def _overview(chosen: dict[str, Row], z: float) -> None:
    st.subheader("Strategy overview", anchor=False)
    st.caption(
        "Under each value its n and 95 % bounds, which allow for trades of one day sharing its"
        " market. Returns, win rate and Sharpe are before fees."
    )
    for each in batched(chosen, 2):
        for column, name in zip(st.columns(2), each, strict=False):
            with column:
                _card(list(chosen).index(name), name, chosen[name], z)


def _card(place: int, name: str, row: Row, z: float) -> None:
    st.markdown(f"**{panels.md(panels.clip(name))}**")
    pending = f", {row['pending_n']:,} still open" if row["pending_n"] else ""
    st.caption(
        f"n = {row['n']:,} closed predictions on {row['day_n']:,} days{pending}"
        f" · newest exit {when(row['last_ms'])}"
    )
    sampled = accuracy.sampling(row)
    if sampled is not None:
        panels.badge("sampled", level="warn")
        st.caption(f"{sampled}.")
    if not row["n"]:
        panels.empty("Nothing has closed yet: there is nothing to be right about.")
        return
    measures = {each.name: each for each in accuracy.measures(row, z)}
    with panels.tiles(name):
        for each in _HEADLINES:
            panels.tile(each, measures[each].value, note=panels.md(measures[each].behind))
    with st.expander("All measures, with n and bounds"):
        cards.either(  # by place: a name of a log is no key of a style sheet
            accuracy.as_frame(measures.values()), key=f"measures {place}", title="measure",
            status="value", height="content",
        )  # fmt: skip


def _alerts(view: View, rows: pl.DataFrame) -> pl.DataFrame:
    threshold = view.settings.alert_precision_threshold(view.params)
    alerts = accuracy.alerts(
        rows, view.table("feat_ops__alerts"), threshold, float(view.params["alert_min_n"])
    )
    st.subheader("Alerts", anchor=False)
    st.caption(
        f"Warned of: precision of a direction over 30 days below {threshold:g}"
        " (--alert-precision-threshold), and falls of the last 100 against all time."
        " Over all symbols."
    )
    panels.alerts(view, alerts)
    return alerts


def _rolling(view: View, names: list[str], symbol: str) -> pl.DataFrame:
    st.subheader("Rolling performance, 30 days", anchor=False)
    days = view.table("feat_telemetry__rolling").filter(pl.col("strategy").is_in(names))
    if "symbol" in days.columns:
        days = days.filter(pl.col("symbol") == symbol)
    elif symbol != ALL:
        panels.empty("An older release built this snapshot: its returns by day are of all symbols.")
    if days.is_empty():
        panels.empty("No position of these closed within the last 30 days.")
        return days
    st.altair_chart(
        accuracy_charts.rolling(days, names),
        key="rolling",
        alt="Running sum of the returns of each strategy by day",
    )
    closed = ", ".join(
        f"{panels.md(panels.clip(name))} n = {days.filter(strategy=name)['n'].sum():,}"
        for name in names
    )
    is_sampled = bool((days["inclusion_rate"] < 1).any())
    sampled = " Sampled: not every trade was logged." if is_sampled else ""
    st.caption(
        f"Positions closed: {closed}. Days in UTC; returns before fees, summed, not"
        f" compounded.{sampled}"
    )
    return days


def _confusion(chosen: dict[str, Row]) -> None:
    st.subheader("Confusion matrices", anchor=False)
    shown = [name for name in chosen if chosen[name]["n"]]
    for each in batched(shown, 2):
        for column, name in zip(st.columns(2), each, strict=False):
            with column:
                st.markdown(f"**{panels.md(panels.clip(name))}** · n = {chosen[name]['n']:,}")
                st.altair_chart(
                    accuracy_charts.confusion(chosen[name]),
                    key=f"confusion {name}",
                    alt=f"Confusion matrix of {panels.clip(name)}",
                )
    st.caption("Count, and its share of what came (of the row). Framed: predicted right.")


def _calibration(view: View, names: list[str]) -> pl.DataFrame:
    st.subheader("Calibration", anchor=False)
    bins = view.table("feat_telemetry__calibration").filter(pl.col("strategy").is_in(names))
    if bins.is_empty():
        panels.empty("No prediction carries a confidence: nothing to hold it against.")
        return bins
    st.altair_chart(
        accuracy_charts.calibration(bins, names),
        key="calibration",
        alt="Share of right predictions by confidence, with 95 % bounds",
    )
    st.caption(
        "A strategy whose confidence means what it says stands on the dashed line. Bars: 95 %"
        " bounds (Wilson). All symbols, all time."
    )
    with st.expander("By tenth of confidence, with n and return"):
        cards.either(accuracy.tenths(bins), key="tenths", title="strategy", status="confidence")
    return bins


def _comparison(view: View, rows: pl.DataFrame, window: str, z: float) -> pl.DataFrame:
    st.subheader("Comparison", anchor=False)
    pairs = view.table("feat_telemetry__comparison").filter(pl.col("window") == window)
    if pairs.is_empty():
        panels.empty("One strategy alone: there is nothing to compare it with.")
        return pairs
    for place, row in enumerate(pairs.iter_rows(named=True)):
        sides = [
            accuracy.find(rows, row[name], ALL, window) for name in ("strategy", "other_strategy")
        ]
        words = comparison.verdict(row)
        st.markdown(f"**{panels.md(words, limit=1000)}**")
        first, other = sides
        if first is not None and other is not None:
            cards.either(
                comparison.compared(row, first, other, z),
                key=f"compared {place}",
                title="measure (95 % bounds)",
                columns={
                    "first": panels.clip(row["strategy"]),
                    "second": panels.clip(row["other_strategy"]),
                    "difference": "first less second",
                },
            )
    st.caption(
        f"Over all symbols, {WINDOWS[window]}. Welch's test on daily sums decides, because trades"
        " of one day share its market; differences read first less second;"
        " returns are before fees."
    )
    return pairs


def batched(names: Iterable[str], width: int) -> Iterator[tuple[str, ...]]:
    """Yield names by rows of ``width`` cards; itertools has it from Python 3.12 on."""
    left = iter(names)
    while each := tuple(islice(left, width)):
        yield each
