"""The page Playback: choose a past moment; every page then shows what was in force at it.

Put here: choosing the moment. Keep out: reading it (data.py), the banner of the past (states.py).
"""

import datetime as dt
from bisect import bisect_right

import polars as pl
import streamlit as st

from dashboard import cards, panels, session
from dashboard.data import View
from dashboard.data_kept import Kept
from features.publications import Publication
from features.words import when

_PAGE = 20


def render(view: View) -> None:
    """Show the page."""
    panels.head("Playback", view)
    kept = session.kept()
    made = session.source().publications()
    if kept is None or not made:
        panels.empty(
            "Nothing to play back: the mirror holds the newest snapshot only."
            if kept is None
            else "Nothing was published yet: execintel refresh publishes the first snapshot."
        )
        return
    st.markdown(
        "Choose a moment: every page then shows the snapshot that was in force, as old as it was"
        " then. The address in your browser names it and can be shared."
    )
    _moment(view, made)
    _steps(view, made)
    st.subheader("Publications", anchor=False)
    shown = _publications(view, kept, made)
    panels.export("publications", view, {"publications": shown})


def _moment(view: View, made: list[Publication]) -> None:
    """Let any moment since the first publication be typed."""
    # Of the present the newest publication: a default that moves would forget what was typed.
    shown_ms = view.now_ms if view.is_past else made[-1].published_ms
    with (
        st.form("moment", border=False),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        chosen = st.datetime_input(
            "Moment, UTC",
            value=_utc(shown_ms).replace(second=0, microsecond=0),
            step=300,
            width=260,
        )
        is_asked = st.form_submit_button("Show this moment", type="primary")
    if is_asked and chosen is not None:
        moment = chosen.replace(tzinfo=dt.UTC)
        # The field holds minutes: what was published within the one chosen is in force at its end.
        moment_ms = round(moment.timestamp() * 1000) + 59_999
        if moment_ms < made[0].published_ms:
            st.warning(f"▲ Nothing was published before {when(made[0].published_ms)}.")
        else:
            session.play_back(moment.replace(second=59).strftime("%Y-%m-%dT%H:%M:%SZ"))
            st.rerun()


def _steps(view: View, made: list[Publication]) -> None:
    """Let a reader go from publication to publication."""
    times = [each.published_ms for each in made]
    place = bisect_right(times, view.now_ms) - 1 if view.is_past else len(made) - 1
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "◀ Earlier",
            disabled=place <= 0,
            on_click=_go,
            args=(made[max(place - 1, 0)],),
        )
        is_last = not view.is_past or place >= len(made) - 1
        st.button(
            "Later ▶",
            disabled=is_last,
            on_click=_go,
            args=(made[min(place + 1, len(made) - 1)],),
        )
        st.caption(
            f"publication {place + 1:,} of {len(made):,}"
            + (f", made {when(made[place].published_ms)}" if place >= 0 else "")
        )


def _go(publication: Publication) -> None:
    session.play_back(_address(publication))


def _address(publication: Publication) -> str:
    """Write the moment of a publication so that it is in force at it: milliseconds count."""
    return _utc(publication.published_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _publications(view: View, kept: Kept, made: list[Publication]) -> pl.DataFrame:
    newest, shown, changes = made[::-1], _shown(view, made), _changes(made)
    pages = -(-len(newest) // _PAGE)
    page = st.pagination(pages, key="publications page") if pages > 1 else 1
    lines = newest[(page - 1) * _PAGE : page * _PAGE]
    frame = pl.DataFrame(
        [
            {
                "published, UTC": when(each.published_ms).removesuffix(" UTC"),
                "shown": "● shown" if each is shown else "",
                "change": changes.get(each.n, ""),
                "kept": kept.extent(each.snapshot_id),
                "snapshot": each.snapshot_id,
                "by": each.by,
            }
            for each in lines
        ]
    )
    key = f"publications {page}"

    def play() -> None:
        for row in st.session_state[key].selection.rows:
            _go(lines[row])

    symbol = session.symbol()
    along = {"symbol": symbol} if symbol else {}
    addresses = [{**along, "at": _address(each)} for each in lines]
    cards.either(
        frame, key=key, title="published, UTC", status="shown", links=("playback", addresses),
        height="content", on_select=play, selection_mode="single-row",
    )  # fmt: skip
    st.caption(
        f"n = {len(made):,} publications, the newest first. Select one to play it back. Of those"
        " with decisions only, what engines were told is kept: score, size, offset, policy, hours."
    )
    return frame


def _shown(view: View, made: list[Publication]) -> Publication | None:
    """Return the publication by which the snapshot shown was in force: one may be made twice."""
    by_then = [
        each
        for each in made
        if each.snapshot_id == view.snapshot_id
        and (each.published_ms <= view.now_ms or not view.is_past)
    ]
    return by_then[-1] if by_then else None


def _changes(made: list[Publication]) -> dict[int, str]:
    """Say which publications went back, or forward again, to a snapshot in force before; by n."""
    changes, seen, before = {}, set[str](), ""
    for each in made:
        if each.snapshot_id in seen:
            is_older = each.snapshot_id < before  # an id begins with its as-of
            changes[each.n] = "rollback" if is_older else "published again"
        seen.add(each.snapshot_id)
        before = each.snapshot_id
    return changes


def _utc(epoch_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(epoch_ms / 1000, tz=dt.UTC)
