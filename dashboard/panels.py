"""What pages share: badges, notices, numbers with n, tables by pages, export, foreign text.

Put here: how a thing looks, once. Keep out: which things a page shows (views/), reading (data.py).
Text of logs may hold anything: it is shown, never obeyed.
"""

import datetime as dt
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import polars as pl
import streamlit as st

from dashboard import frames
from dashboard.data import View
from features.acknowledgements import made_of
from features.words import (
    MARKS,
    UNKNOWN,
    Level,
    number,
    on_status,
    plain,
    source_state,
    span,
    when,
)
from live.snapshot.reading import Reading

# Mark, word and colour say the same thing, so that none of them is needed.
COLOURS: Mapping[Level, Literal["green", "orange", "red", "gray"]] = {
    "ok": "green",
    "warn": "orange",
    "bad": "red",
    "unknown": "gray",
}
LEVELS: Mapping[str, Level] = {
    "fresh": "ok", "ok": "ok", "good": "ok", "complete": "ok", "active": "ok", "cleared": "ok",
    "normal": "ok", "quiet": "ok",
    "demo": "warn", "insufficient": "warn", "degraded": "warn", "silent": "warn",
    "warning": "warn", "incomplete": "warn", "hot": "warn", "open": "warn", "opened": "warn",
    "missing": "warn",
    "stale": "bad", "empty": "bad", "broken": "bad", "critical": "bad", "panic": "bad",
}  # fmt: skip
CLIP = 60  # characters of a name or reason in a label; tables show them whole
PAGE_ROWS = 50
_ADDRESS = re.compile(r"(?i)https?:(?=//)|www(?=\.)|[\w+](?=@)")
_FORMULA = r"^[=+\-@\t\r]"  # of a text, a spreadsheet would run it
ALERTS_A_PAGE = 5
TILE_PX = 164  # two side by side on a phone


def mark(word: str) -> str:
    """Return a status word behind the shape of its level: what a table cell shows."""
    return f"{MARKS[LEVELS.get(word, 'unknown')]} {word}"


def source_mark(status: str, *, is_required: bool) -> str:
    """Return a source's status behind its mark: silence of one that is optional is no fault."""
    level, words = source_state(status, required=is_required)
    return f"{MARKS[level]} {words}"


def badge(word: str, *, level: Level | None = None) -> None:
    """Show a status as shape, word and colour."""
    found = level or LEVELS.get(word, "unknown")
    st.badge(f"{MARKS[found]} {md(word)}", color=COLOURS[found])


def reading(found: Reading, view: View) -> None:
    """Show the status of a symbol's reading and what engines do by it, of a demonstration: did.

    Where a switch stands they do what that says.
    """
    when_new = "when this snapshot was new: " if view.status == "demo" else ""
    does = when_new + on_status(
        found.status, reduces_only=found.reduce_only, acts=bool(view.applied),
        is_ahead=found.is_ahead,
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center"):
        badge(found.status)
        st.caption(view.overruled(found.symbol) or does)


def clip(words: object, limit: int = CLIP) -> str:
    """Return foreign text as one printable line of bounded length."""
    line = UNKNOWN if words is None else plain(str(words))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def md(words: object, limit: int = 400) -> str:
    """Return foreign text that Streamlit's markdown shows as it is, such as in a metric's label.

    An address would become a link however it is escaped: an invisible word joiner parts it.
    """
    parted = _ADDRESS.sub("\\g<0>\N{WORD JOINER}", clip(words, limit))
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~$:<>&])", r"\\\1", parted).replace("\\<", "&lt;")


def head(title: str, view: View) -> None:
    """Begin a page: its title, which snapshot it is of and how old, then what is wrong with it.

    The age and CURRENT are looked at again at every refresh; a newer snapshot redraws the page
    where the reader stands.
    """
    st.title(title, anchor=False)
    st.fragment(_freshness, run_every=view.settings.refresh_interval_s)(view.bare())
    for notice in view.notices:
        box = {"bad": st.error, "warn": st.warning}.get(notice.level, st.info)
        box(md(f"{MARKS[notice.level]} {notice.text}", limit=2000))


def _freshness(view: View) -> None:
    from dashboard import session

    now = session.view()
    if (now.snapshot_id, now.status, now.notices) != (view.snapshot_id, view.status, view.notices):
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center", key="freshness"):
        badge(now.status if now.status != "none" else "no snapshot")
        if now.traces is not None:
            st.caption(f"newest exit {when(now.as_of_ms)}, **{span(now.age_s)} old** · trace files")
        elif now.as_of_ms is not None:
            st.caption(
                f"as of {when(now.as_of_ms)}, **{span(now.age_s)} old** · window"
                f" {now.window_days} d · {md(now.environment)} · {md(now.snapshot_id)}"
            )
        if now.is_past:
            st.button("Back to now", on_click=session.leave_past)


def empty(words: str) -> None:
    """Say what a part of the page would show, and why there is nothing."""
    st.info(words)


def without_tables(view: View, what: str) -> None:
    """Say why a part that needs the snapshot's database is not there."""
    why = (
        "the mirror holds one document per symbol"
        if view.held is None
        else "only its lines for engines are archived"
    )
    empty(f"{what} not shown: that needs the snapshot's database, and {why}.")


def symbol_select(
    view: View,
    *,
    label: str = "Symbol",
    none: str | None = None,
    symbols: Sequence[str] | None = None,
) -> str | None:
    """Let a symbol be chosen; the address names it, so that the page can be shared.

    None before one is chosen, and where ``none``, words for all of them, is. ``symbols`` are to
    choose from, by default all of the snapshot; an address with another is told of.
    """
    from dashboard import session

    asked = session.symbol()
    known = view.symbols if symbols is None else symbols
    options = [*([none] if none else []), *known]
    if asked is not None and asked not in options:
        st.warning(md(f"▲ {clip(asked)} is not in this snapshot; choose one of {len(known)}."))
        asked = None
    key = f"choice of {asked}"

    def choose() -> None:
        chosen = st.session_state[key]
        session.choose(None if chosen == none else chosen)

    chosen = cast(
        str | None,
        st.selectbox(
            label,
            options,
            index=options.index(asked) if asked else 0 if none else None,
            format_func=clip,
            placeholder="Select a symbol" if options else "No symbol in this snapshot",
            key=key,
            on_change=choose,
        ),
    )
    return None if chosen == none else chosen


def paged(frame: pl.DataFrame, *, key: str, page_rows: int = PAGE_ROWS) -> pl.DataFrame:
    """Return the rows of the page that is chosen; where there are more, another can be."""
    pages = -(-frame.height // page_rows)
    if pages <= 1:
        return frame
    page = st.pagination(pages, key=f"{key} page")
    st.caption(f"rows {(page - 1) * page_rows + 1} to "
               f"{min(page * page_rows, frame.height)} of {frame.height}")  # fmt: skip
    return frame.slice((page - 1) * page_rows, page_rows)


def table(
    frame: pl.DataFrame,
    *,
    key: str,
    columns: Mapping[str, Any] | None = None,
    page_rows: int = PAGE_ROWS,
    **more: Any,
) -> Any:
    """Show a table, by pages where it is long; returns what st.dataframe does."""
    shown = paged(frame, key=key, page_rows=page_rows)
    if not shown.is_empty():  # no character of a log may turn the text around it
        texts = [name for name, kind in shown.schema.items() if kind == pl.String]
        shown = shown.with_columns(frames.written(shown, texts, plain))
    return st.dataframe(
        shown, hide_index=True, column_config=columns, key=key, placeholder=UNKNOWN, **more
    )


@contextmanager
def tiles(key: str) -> Iterator[None]:
    """Lay tiles side by side, as many as fit."""
    with st.container(horizontal=True, key=f"tiles {key}", gap="small"):
        yield


def tile(
    label: str,
    value: float | str | None,
    *,
    n: int | None = None,
    unit: str = "",
    digits: int = 2,
    signed: bool = False,
    note: str = "",
) -> None:
    """Show one number with what it rests on; unknown is a dash."""
    written = md(value) if isinstance(value, str) else number(value, digits)
    if signed and isinstance(value, float) and value > 0:
        written = f"+{written}"
    if value is not None:
        written += unit
    with st.container(border=True, width=TILE_PX, gap=None):
        st.metric(label, written)
        st.caption(note or (f"n = {n:,}" if n is not None else " "))


def known_end(known_n: int, n: int) -> str:
    """Say of which attempts a fill ratio is: those that nobody knows the end of are not in it."""
    return f"of those whose end is known, n = {known_n:,} of {n:,}"


def alerts(view: View, rows: pl.DataFrame) -> None:
    """Show what a person should look at: what, since when, what to do, who has seen it."""
    if rows.is_empty():
        empty("No alert is open.")
        return
    seen = view.acknowledged()
    rank = {"critical": 0, "warning": 1}
    ordered = sorted(
        rows.to_dicts(),
        key=lambda r: (r["status"] == "cleared", rank.get(r["severity"], 2), -(r["since_ms"] or 0)),
    )
    pages = -(-len(ordered) // ALERTS_A_PAGE)
    page = st.pagination(pages, key="alerts page") if pages > 1 else 1
    for row in ordered[(page - 1) * ALERTS_A_PAGE :][:ALERTS_A_PAGE]:
        with st.container(border=True, gap="small"):
            with st.container(horizontal=True):
                badge("cleared" if row["status"] == "cleared" else row["severity"])
                st.markdown(f"**{md(row['rule'])}** · {md(row['subject'])}")
            st.write(md(row["text"], 1000))
            since = ""
            if row["since_ms"] is not None:  # of a threshold of the viewer's own nobody knows
                age = span((view.now_ms - row["since_ms"]) / 1000)
                since = f" since {when(row['since_ms'])}, {age} ago"
            st.caption(f"{md(row['status'])}{since} · n = {row['n'] or 0:,}")
            made = made_of(seen, row)
            if made is not None:
                mark_of = MARKS["ok" if made.holds(row["severity"]) else "warn"]
                st.caption(md(f"{mark_of} {made.words(row['severity'])}", 1000))


def export(name: str, view: View, tables: Mapping[str, pl.DataFrame], **about: Any) -> None:
    """Offer what is shown as JSON and as CSV, with the snapshot it is of."""
    bare = view.bare()  # the buttons outlive the page
    stem = f"{name}-{view.snapshot_id or 'none'}"
    with st.container(horizontal=True, key=f"export {name}"):
        st.download_button(
            "Export JSON",
            lambda: as_json(bare, tables, about),
            f"{stem}.json",
            "application/json",
            key=f"{name} json",
            on_click="ignore",
        )
        st.download_button(
            "Export CSV",
            lambda: as_csv(bare, tables),
            f"{stem}.csv",
            "text/csv",
            key=f"{name} csv",
            on_click="ignore",
        )


def as_json(view: View, tables: Mapping[str, pl.DataFrame], about: Mapping[str, Any]) -> str:
    """Return tables as one JSON document; unknown is null."""
    document = {
        "snapshot_id": view.snapshot_id,
        "as_of_ms": view.as_of_ms,
        "shown_ms": view.now_ms,
        "status": view.status,
        **about,
        "tables": {name: frame.to_dicts() for name, frame in tables.items()},
    }
    return json.dumps(_finite(document), default=_plain, ensure_ascii=False, allow_nan=False)


def as_csv(view: View, tables: Mapping[str, pl.DataFrame]) -> str:
    """Return tables as one CSV below each other's columns; `table` names each row's."""
    stamped = [
        frame.select(
            pl.lit(name).alias("table"),
            pl.lit(view.snapshot_id).alias("snapshot_id"),
            pl.lit(view.as_of_ms).alias("snapshot_as_of_ms"),
            pl.all(),
        )
        for name, frame in tables.items()
        if frame.width
    ]
    if not stamped:
        return ""
    whole = pl.concat(stamped, how="diagonal_relaxed")
    lists = [name for name, kind in whole.schema.items() if kind.is_nested()]
    flat = whole.with_columns(frames.written(whole, lists, json.dumps)).with_columns(
        pl.col(pl.String).str.replace(_FORMULA, "'$0")
    )
    target = io.StringIO()
    flat.write_csv(target)
    return target.getvalue()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and value - value != 0.0:
        return None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return value


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.date) else str(value)
