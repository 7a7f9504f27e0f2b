"""Parts that several rows of one page repeat: an estimate with n, an alert, cards side by side.

Put here: how one such thing looks. Keep out: what pages share whole (panels.py).
"""

from collections.abc import Iterator, Sequence

import polars as pl
import streamlit as st

from dashboard import panels
from dashboard.accuracy import Measure
from features.words import when

_ALERTS = 6  # in boxes; the others stand in a table
_METRIC_PX = 152  # three side by side in a card, two on a telephone


def in_rows(names: Sequence[str], width: int) -> Iterator[Sequence[str]]:
    """Yield names by rows of ``width`` cards."""
    for begin in range(0, len(names), width):
        yield names[begin : begin + width]


def estimate(measure: Measure) -> None:
    """Show a value with its n and 95 % bounds under it."""
    st.metric(
        measure.name,
        measure.value,
        measure.behind,
        delta_color="off",
        delta_arrow="off",
        width=_METRIC_PX,
    )


def alerts(rows: pl.DataFrame) -> None:
    """Show alerts as boxes, severity in shape and word; those beyond a few in a table."""
    for row in rows.head(_ALERTS).iter_rows(named=True):
        with st.container(border=True, horizontal=True):
            panels.badge(row["severity"])
            since = row["since_ms"]
            st.markdown(
                panels.md(row["text"], limit=1000)
                + ("" if since is None else f" Open since {when(since)}.")
            )
    rest = rows.slice(_ALERTS)
    if not rest.is_empty():
        with st.expander(f"{rest.height} more"):
            panels.table(
                rest.select(
                    pl.col("severity").map_elements(panels.mark, return_dtype=pl.String),
                    "text",
                    "value",
                    "threshold",
                    "n",
                ),
                key="alerts",
            )
