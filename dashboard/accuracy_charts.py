"""Charts of the Strategies page, drawn by Altair.

Put here: how rows become marks. Keep out: the rows (accuracy.py, features/sql). Never colour
alone: strategies differ by dash and shape too, cells and ends carry their numbers.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from dashboard.accuracy import DIRECTIONS, Row

# Okabe and Ito's colours, the blue lighter: it must stand out on black too.
COLOURS = ("#1F86C7", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3), (12, 4), (4, 6))
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


def _scales(names: Sequence[str]) -> tuple[alt.Scale, alt.Scale, alt.Scale]:
    """Return one colour, dash and shape a strategy, the same in every chart."""
    domain = list(names)
    looks: list[alt.Scale] = []
    ranges: tuple[Sequence[Any], ...] = (COLOURS, [list(dash) for dash in DASHES], SHAPES)
    for turn, each in enumerate(ranges):
        # Beyond six the three turn against each other: 36 strategies differ in one at least.
        places = (place + turn * (place // len(each)) for place in range(len(domain)))
        looks.append(alt.Scale(domain=domain, range=[each[k % len(each)] for k in places]))
    colour, dash, shape = looks
    return colour, dash, shape


def rolling(rows: pl.DataFrame, names: Sequence[str]) -> alt.LayerChart | alt.FacetChart:
    """Draw each strategy's running sum of returns by day; its name stands at its end."""
    colour, dash, shape = _scales(names)
    base = alt.Chart(rows).encode(
        # In UTC, wherever the reader is; a tick a day, for between two days there is nothing.
        x=alt.X(
            "day:T",
            title=None,
            timeUnit="utcyearmonthdate",
            axis=alt.Axis(format="%-d %b", labelOverlap=True),
        ),
        y=alt.Y("cumulative_return_pct:Q", title="sum of returns, percent points"),
        color=alt.Color("strategy:N", scale=colour, legend=alt.Legend(orient="top", title=None)),
        tooltip=[
            alt.Tooltip("strategy:N"),
            alt.Tooltip("day:N", title="day, UTC"),
            alt.Tooltip("cumulative_return_pct:Q", format=".2f", title="sum so far, pp"),
            alt.Tooltip("return_pct:Q", format=".2f", title="that day, pp"),
            alt.Tooltip("n:Q", title="closed that day, n"),
            alt.Tooltip("inclusion_rate:Q", format=".0%", title="of trades logged"),
        ],
    )
    line = base.mark_line(strokeWidth=2).encode(
        strokeDash=alt.StrokeDash("strategy:N", scale=dash, legend=None)
    )
    points = base.mark_point(filled=True, size=36).encode(
        shape=alt.Shape("strategy:N", scale=shape, legend=None)
    )
    zero = alt.Chart().mark_rule(color="#888").encode(y=alt.datum(0))
    return alt.layer(zero, line, points).properties(height=300)


def confusion(row: Row) -> alt.LayerChart | alt.FacetChart:
    """Draw a 3 × 3 matrix: rows what came, columns what was predicted; counts and shares."""
    cells = []
    for came in DIRECTIONS:
        total = row[f"{came.lower()}_actual_n"] or 0
        for made in DIRECTIONS:
            n = row[f"{made.lower()}_{came.lower()}"] or 0
            share = n / total if total else None
            cells.append(
                {
                    "came": came,
                    "predicted": made,
                    "n": n,
                    "share": share,
                    "label": f"{n:,}",
                    "of": "" if share is None else f"{100 * share:.0f} %",
                    "is_right": came == made,
                }
            )
    frame = pl.DataFrame(cells, infer_schema_length=None)
    base = alt.Chart(frame).encode(
        x=alt.X("predicted:N", sort=DIRECTIONS, title="predicted", axis=_FLAT),
        y=alt.Y("came:N", sort=DIRECTIONS, title="came", axis=_FLAT),
        tooltip=[
            alt.Tooltip("predicted:N"),
            alt.Tooltip("came:N"),
            alt.Tooltip("n:Q", format=","),
            alt.Tooltip("share:Q", format=".1%", title="of what came"),
        ],
    )
    shade = alt.Color(
        "share:Q", scale=alt.Scale(domain=[0, 1], range=["#eaf2fb", "#08468b"]), legend=None
    )
    frame_of_right = alt.condition("datum.is_right", alt.value(2.5), alt.value(0))
    cell = base.mark_rect(stroke="#E69F00", cornerRadius=3).encode(
        color=alt.condition("isValid(datum.share)", shade, alt.value("#eaf2fb")),
        strokeWidth=frame_of_right,
    )
    ink = alt.condition("datum.share > 0.45", alt.value("white"), alt.value("#10202f"))
    count = base.mark_text(fontSize=16, fontWeight="bold", dy=-7).encode(text="label:N", color=ink)
    part = base.mark_text(fontSize=12, dy=11).encode(text="of:N", color=ink)
    return alt.layer(cell, count, part).properties(height=230)


_FLAT = alt.Axis(labelAngle=0, ticks=False, domain=False)


def calibration(rows: pl.DataFrame, names: Sequence[str]) -> alt.LayerChart | alt.FacetChart:
    """Draw how often each tenth of confidence was right, with 95 % bounds, against the ideal."""
    colour, _, shape = _scales(names)
    base = alt.Chart(rows.filter(pl.col("strategy").is_in(list(names)))).encode(
        x=alt.X(
            "confidence_avg:Q",
            title="mean confidence",
            scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(format="%"),
        ),
        color=alt.Color("strategy:N", scale=colour, legend=alt.Legend(orient="top", title=None)),
        tooltip=[
            alt.Tooltip("strategy:N"),
            alt.Tooltip("confidence_avg:Q", format=".1%", title="mean confidence"),
            alt.Tooltip("hit_ratio:Q", format=".1%", title="right"),
            alt.Tooltip("hit_lo95:Q", format=".1%", title="at least (95 %)"),
            alt.Tooltip("hit_hi95:Q", format=".1%", title="at most (95 %)"),
            alt.Tooltip("n:Q", format=",", title="predictions, n"),
            alt.Tooltip("return_net_avg_pct:Q", format=".3f", title="mean return after cost, %"),
        ],
    )
    right = alt.Y("hit_ratio:Q", title="share that was right", axis=alt.Axis(format="%"))
    y = right.scale(domain=[0, 1])
    ideal = (
        alt.Chart(pl.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0]}))
        .mark_line(strokeDash=[4, 4], color="gray")
        .encode(x="x:Q", y="y:Q")
    )
    span = base.mark_rule(strokeWidth=2, opacity=0.6).encode(y="hit_lo95:Q", y2="hit_hi95:Q")
    point = base.mark_point(filled=True, size=70, opacity=1).encode(
        y=y, shape=alt.Shape("strategy:N", scale=shape, legend=None)
    )
    return alt.layer(ideal, span, point).properties(height=300)
