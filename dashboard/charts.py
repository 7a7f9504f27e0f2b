"""Altair charts of the pages: they follow the theme, and say n and interval under the pointer.

Put here: marks, scales, tooltips. Keep out: the rows (frames.py). A value is never told by colour
alone: it is written, or stands at its place on an axis.
"""

from collections.abc import Sequence
from urllib.parse import quote

import altair as alt
import polars as pl

Drawn = alt.LayerChart | alt.FacetChart
LOSS, NONE, GAIN = "#b35806", "#b9bcc2", "#2f7fc1"  # told apart by every kind of colour vision
_THIN = 20  # closes below which a cell is faded: what an hour needs to speak in an offset
_HOURS = alt.Axis(values=list(range(0, 24, 3)), labelExpr="datum.value + ':00'", title="UTC hour")


_SPARK_PX, _STEP, _MIDDLE = 96, 4, 13  # of a table's cell: a bar an hour, up to 11 high
_EVEN = "#8b8f96"  # neither gain nor loss


def spark(values: Sequence[float | None]) -> str | None:
    """Draw values by hour as an image's address: bars up earn, bars down lose, a gap is unknown.

    The longest bar is the largest value of its own row. None where no hour is known.
    """
    top = max((abs(value) for value in values if value is not None), default=None)
    if top is None:
        return None
    moves: dict[str, list[str]] = {GAIN: [], LOSS: [], _EVEN: []}
    for hour, value in enumerate(values):
        x = hour * _STEP + 2
        if value == 0:  # seen too, unlike a gap
            moves[_EVEN].append(f"M{x} {_MIDDLE - 1}v2")
        elif value is not None:
            long = max(2, round(11 * abs(value) / top))
            up = "-" if value > 0 else ""
            moves[GAIN if value > 0 else LOSS].append(f"M{x} {_MIDDLE}v{up}{long}")
    bars = "".join(
        f'<path d="{"".join(each)}" stroke="{colour}" stroke-width="2.5"/>'
        for colour, each in moves.items()
        if each
    )
    drawn = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SPARK_PX}" height="{2 * _MIDDLE}">{bars}'
        f'<path d="M0 {_MIDDLE}h{_SPARK_PX}" stroke="{_EVEN}"/></svg>'
    )
    return f"data:image/svg+xml,{quote(drawn)}"


def _hour_x(name: str = "hour") -> alt.X:
    return alt.X(f"{name}:Q", scale=alt.Scale(domain=[-0.5, 23.5], nice=False), axis=_HOURS)


def waterfall(rows: pl.DataFrame) -> Drawn:
    """Draw the parts of a score from sum to sum, with what each adds written at its bar."""
    order = rows["part"].to_list()
    base = alt.Chart(rows).encode(
        y=alt.Y("part:N", sort=order, title=None, axis=alt.Axis(labelLimit=140)),
        tooltip=[
            alt.Tooltip("part:N"),
            alt.Tooltip("written:N", title="adds"),
            alt.Tooltip("to:Q", title="sum so far", format="+.3f"),
            alt.Tooltip("n:Q", title="n"),
        ],
    )
    bars = base.mark_bar(height={"band": 0.6}, minBandSize=3).encode(
        x=alt.X("from:Q", title="score", axis=alt.Axis(tickCount=6)),
        x2="to:Q",
        color=alt.Color(
            "kind:N",
            scale=alt.Scale(domain=["adds", "takes", "sum"], range=[GAIN, LOSS, "#7a7f87"]),
            legend=None,
        ),
    )
    zero = alt.Chart(pl.DataFrame({"x": [0.0]})).mark_rule(color="#888").encode(x="x:Q")
    words = base.mark_text(align="left", dx=5, color="#7a7f87", fontWeight=600).encode(
        x=alt.X("end:Q"), text="written:N"
    )
    words = words.transform_calculate(end="max(datum.from, datum.to)")
    return alt.layer(zero, bars, words).properties(height=26 * len(order) + 40)


def expectancy(rows: pl.DataFrame) -> Drawn:
    """Draw expectancy by hour with its 95 % interval; an hour without closes stays empty.

    The axis holds every point. One interval of two closes would flatten them all: what reaches
    further than three quarters of the intervals, or three times the points, is cut at the frame.
    """
    known = rows.filter(pl.col("closes") > 0)
    furthest = known.select(
        pl.col("exp_bps").abs().max(),
        pl.max_horizontal(pl.col("exp_lo95_bps", "exp_hi95_bps").abs()).quantile(0.75).alias("end"),
    )
    point, end = (each or 0.0 for each in furthest.row(0))
    top = 1.1 * max(1.0, point, min(end, 3 * point))
    y = alt.Scale(domain=[-top, top], nice=True)
    tips = [
        alt.Tooltip("hour:Q", title="UTC hour"),
        alt.Tooltip("exp_bps:Q", title="expectancy, bps", format="+.2f"),
        alt.Tooltip("exp_lo95_bps:Q", title="from", format="+.2f"),
        alt.Tooltip("exp_hi95_bps:Q", title="to", format="+.2f"),
        alt.Tooltip("closes:Q", title="n closes"),
        alt.Tooltip("exp_shrunk_bps:Q", title="drawn to all hours", format="+.2f"),
    ]
    base = alt.Chart(known).encode(x=_hour_x(), tooltip=tips)
    ranges = base.transform_filter("isValid(datum.exp_lo95_bps)")
    whisker = ranges.mark_rule(strokeWidth=2, color=NONE, clip=True).encode(
        y=alt.Y("exp_lo95_bps:Q", title="bps of notional", scale=y), y2="exp_hi95_bps:Q"
    )
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        y=alt.Y("exp_bps:Q", title="bps of notional", scale=y),
        color=alt.condition("datum.exp_bps >= 0", alt.value(GAIN), alt.value(LOSS)),
        shape=alt.condition(
            "datum.exp_bps >= 0", alt.value("triangle-up"), alt.value("triangle-down")
        ),
    )
    zero = alt.Chart(pl.DataFrame({"y": [0.0]})).mark_rule(color="#888").encode(y="y:Q")
    return alt.layer(zero, whisker, points).properties(height=260)


def heat(rows: pl.DataFrame, order: list[str], *, is_dark: bool) -> Drawn:
    """Draw expectancy by hour and symbol, each written in its cell, bold from 20 closes on.

    How strong a colour is says how far from 0, up to the 95th percentile; few closes fade it.
    """
    top = rows["exp_bps"].abs().quantile(0.95) or 1.0
    base = alt.Chart(rows).encode(
        x=alt.X(
            "symbol:N",
            sort=order,
            title=None,
            axis=alt.Axis(labelAngle=-35, labelLimit=90, labelOverlap=False, orient="top"),
        ),
        y=alt.Y("hour:O", title="UTC hour"),
        tooltip=[
            alt.Tooltip("symbol:N"),
            alt.Tooltip("hour:O", title="UTC hour"),
            alt.Tooltip("exp_bps:Q", title="expectancy, bps", format="+.2f"),
            alt.Tooltip("exp_lo95_bps:Q", title="from", format="+.2f"),
            alt.Tooltip("exp_hi95_bps:Q", title="to", format="+.2f"),
            alt.Tooltip("closes:Q", title="n closes"),
            alt.Tooltip("trades:Q", title="n attempts"),
        ],
    )
    known = base.transform_filter("isValid(datum.exp_bps)")
    cells = known.mark_rect(stroke="#88888855", strokeWidth=1).encode(
        color=alt.condition("datum.exp_bps >= 0", alt.value(GAIN), alt.value(LOSS)),
        opacity=alt.Opacity("strength:Q", scale=None),
    )
    cells = cells.transform_calculate(
        strength=f"(0.08 + 0.72 * min(1, abs(datum.exp_bps) / {top}))"
        f" * (datum.closes >= {_THIN} ? 1 : 0.6)"
    )
    dots = base.mark_text(color="#8b8f96", fontSize=10).encode(text=alt.value("·"))
    dots = dots.transform_filter("!isValid(datum.exp_bps)")
    words = known.mark_text(fontSize=11, color="#f2f2f2" if is_dark else "#1d1f23").encode(
        text=alt.Text("exp_bps:Q", format="+.1f")
    )
    few = words.transform_filter(f"datum.closes < {_THIN}")
    enough = words.mark_text(
        fontSize=11, fontWeight="bold", color="#ffffff" if is_dark else "#000000"
    ).transform_filter(f"datum.closes >= {_THIN}")
    return alt.layer(cells, dots, few, enough).properties(height=24 * 20 + 60)


def quartiles(rows: pl.DataFrame) -> Drawn:
    """Draw slippage by hour: a bar from first to third quartile, a tick at the median."""
    known = rows.filter(pl.col("n") > 0)
    base = alt.Chart(known).encode(
        x=_hour_x(),
        tooltip=[
            alt.Tooltip("hour:Q", title="UTC hour"),
            alt.Tooltip("slip_bps_q25:Q", title="q25, bps", format="+.2f"),
            alt.Tooltip("slip_bps_q50:Q", title="median, bps", format="+.2f"),
            alt.Tooltip("slip_bps_q75:Q", title="q75, bps", format="+.2f"),
            alt.Tooltip("n:Q", title="n fills"),
            alt.Tooltip("fresh_n:Q", title="n fresh fills"),
        ],
    )
    boxes = base.mark_bar(width=10, color=GAIN, opacity=0.45).encode(
        y=alt.Y("slip_bps_q25:Q", title="bps, up is a cost"), y2="slip_bps_q75:Q"
    )
    medians = base.mark_tick(orient="horizontal", thickness=3, size=16, color=LOSS).encode(
        y="slip_bps_q50:Q"
    )
    zero = alt.Chart(pl.DataFrame({"y": [0.0]})).mark_rule(color="#888").encode(y="y:Q")
    return alt.layer(zero, boxes, medians).properties(height=240)


def offsets(rows: pl.DataFrame, hour: int) -> Drawn:
    """Draw the maker offset by hour as steps; the hour now is marked."""
    tips = [alt.Tooltip("hour:Q", title="UTC hour"),
            alt.Tooltip("acts_bps:Q", title="acts, bps", format=".2f")]  # fmt: skip
    if "offset_v510_bps" in rows.columns:
        tips += [
            alt.Tooltip("offset_bps:Q", title="snapshot, bps", format=".2f"),
            alt.Tooltip("offset_v510_bps:Q", title="as v5.10, bps", format=".2f"),
            alt.Tooltip("close_n:Q", title="n closes of the hour"),
        ]
    top = alt.Scale(domain=[0, max(4.0, float(rows["acts_bps"].max() or 0) * 1.2)])  # type: ignore[arg-type]
    base = alt.Chart(rows).encode(x=_hour_x(), tooltip=tips)
    steps = base.mark_line(interpolate="step", strokeWidth=2.5, color=GAIN).encode(
        y=alt.Y("acts_bps:Q", title="bps from mid", scale=top)
    )
    now = base.transform_filter(alt.datum.hour == hour)
    mark = now.mark_point(filled=True, size=110, color=LOSS, opacity=1).encode(y="acts_bps:Q")
    words = now.mark_text(dy=-14, color="#7a7f87", fontWeight=600).encode(
        y="acts_bps:Q", text=alt.Text("acts_bps:Q", format=".2f")
    )
    layers = [steps, mark, words]
    if "offset_v510_bps" in rows.columns:
        v510 = base.mark_line(interpolate="step", strokeDash=[4, 3], color="#8b8f96").encode(
            y="offset_v510_bps:Q"
        )
        layers.insert(0, v510)
    return alt.layer(*layers).properties(height=200)
