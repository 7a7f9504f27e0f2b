"""Views: which snapshot, at which moment, in which state; and how few stay in memory."""

import gc
import json
import shutil
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dashboard import frames, live_helpers
from dashboard.data import KEPT, LocalSource, MirrorSource, View
from dashboard.settings import load
from features.publications import in_force
from features.snapshot import SnapshotError, Store
from live.firestore_mirror import publish_snapshot
from live.mirror.desk import UNTOLD, Desk, Hold
from live.snapshot.published import load_published
from live.trading.controls import Controls, Disabled, State
from tests.dashboard import homes
from tests.live import files

Mirrored = Callable[[Desk | None], View]


@pytest.fixture
def copy(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return the snapshots of a root of this test's own; its pages count them as fresh."""
    shutil.copytree(home / "snapshots", tmp_path / "snapshots")
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path))
    monkeypatch.setenv("EXECINTEL_SNAPSHOT_MAX_AGE_S", "3000000000")
    return Store(tmp_path / "snapshots")


def test_view_is_of_current_and_follows_it(copy: Store) -> None:
    source = LocalSource(load([]))
    first, second = copy.ids()
    assert source.view().snapshot_id == second
    copy.publish(first, now_ms=1, by="test")
    assert source.view().snapshot_id == first


def test_table_is_the_snapshots_and_is_read_once(copy: Store) -> None:
    view = LocalSource(load([])).view()
    table = view.table("feat_symbol__scores")
    assert table.height == copy.manifest(copy.ids()[-1])["tables"]["feat_symbol__scores"]["rows"]
    assert view.table("feat_symbol__scores") is table
    assert view.table("feat_no__such").width == 0


THRESHOLD = "dashboard_alert_precision_threshold"


def test_precision_is_judged_as_the_snapshot_does_unless_the_viewer_says_otherwise(
    copy: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = copy.path(copy.ids()[-1]) / "manifest.json"
    told = json.loads(manifest.read_text())
    told["params"][THRESHOLD] = 0.7  # of a refresh whose configuration this process does not have
    manifest.write_text(json.dumps(told))

    def judged_by(*flags: str) -> float:
        view = LocalSource(load(flags)).view()
        return view.settings.alert_precision_threshold(view.params)

    assert judged_by() == 0.7
    assert judged_by("--alert-precision-threshold=0.6") == 0.6
    assert judged_by("--alert-precision-threshold=0.55") == 0.55  # also where it is the default
    monkeypatch.setenv(THRESHOLD.upper(), "0.8")
    assert judged_by() == 0.8
    del told["params"][THRESHOLD]  # of a release that had none
    monkeypatch.delenv(THRESHOLD.upper())
    assert load([]).alert_precision_threshold(told["params"]) == 0.55


def test_past_moment_shows_what_was_in_force_and_counts_ages_up_to_it(copy: Store) -> None:
    source = LocalSource(load([]))
    made = in_force(copy.root)
    middle_ms = (made[0].published_ms + made[1].published_ms) // 2  # they are seconds apart
    between = datetime.fromtimestamp(middle_ms / 1000, tz=UTC)
    view = source.view(between.isoformat(timespec="milliseconds"))
    assert view.snapshot_id == copy.ids()[0]
    assert view.is_past
    assert view.age_s == pytest.approx((view.now_ms - (view.as_of_ms or 0)) / 1000)
    assert "Playback" in view.notices[0].text


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("1999-01-01T00:00:00Z", "nothing was published by then"),
        ("yesterday", "is no ISO 8601 time"),
        ("20000101T000000Z-abc", "nothing of snapshot 20000101T000000Z-abc is kept"),
    ],
)
def test_past_that_cannot_be_shown_shows_the_present_and_says_why(
    copy: Store, at: str, words: str
) -> None:
    view = LocalSource(load([])).view(at)
    assert view.snapshot_id == copy.ids()[-1]
    assert words in view.notices[0].text


@pytest.mark.parametrize("name", ["live.jsonl", "features.duckdb"])
def test_damaged_current_leaves_the_last_good_snapshot_and_says_so(copy: Store, name: str) -> None:
    source = LocalSource(load([]))
    first, second = copy.ids()
    copy.publish(first, now_ms=1, by="test")
    assert source.view().snapshot_id == first
    (copy.path(second) / name).write_bytes(b"{")
    copy.publish(second, now_ms=2, by="test")
    view = source.view()
    assert view.snapshot_id == first
    assert "shown is the last good one" in view.notices[0].text


def test_root_without_snapshots_says_how_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path))
    view = LocalSource(load([])).view()
    assert view.status == "none"
    assert view.symbols == ()
    assert "execintel refresh" in view.notices[0].text
    with pytest.raises(SnapshotError, match="no database"):
        view.query("SELECT 1")


def test_archived_snapshot_has_readings_and_no_tables(copy: Store) -> None:
    first = copy.ids()[0]
    copy._archive(first)
    shutil.rmtree(copy.path(first))
    view = LocalSource(load([])).view(first)
    assert view.snapshot_id == first
    assert view.read("LINKUSDT").record is not None
    assert not view.has_tables
    assert view.table("feat_symbol__scores").width == 0


def test_only_a_few_snapshots_stay_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path))
    source = LocalSource(load([]))
    manifest = {"environment": "paper", "origin": "logs", "tables": {}}
    seen, sessions = [], []
    for n in range(3 * KEPT):
        name = f"20251105T0000{n:02d}Z-abc"
        path = files.publish(tmp_path / "snapshots", name, [files.line()])
        path.with_name("manifest.json").write_text(json.dumps({**manifest, "sequence": n}))
        view = source.view()
        assert view.snapshot_id == name
        assert view.held is not None
        seen.append(weakref.ref(view.held))
        sessions.append(view.bare())  # what a tab that is left open keeps
        del view
    gc.collect()
    assert sum(held() is not None for held in seen) == KEPT


@pytest.mark.parametrize(
    ("origin", "lines", "status", "said", "unsaid"),
    [
        # Old: engines that read it today open nothing, and the readings are those of when new.
        ("demo", [files.line()], "demo", "would treat it as stale (older than 15 min) and open no",
         "Stale: older"),
        ("logs", [files.line()], "stale", "Stale: older than 15 min. Engines open nothing", "Demo"),
        # Without a symbol it is never fresh, old or not.
        ("logs", [], "empty", "This snapshot holds no symbol", "Demo"),
        ("demo", [], "empty", "This snapshot holds no symbol", "Stale: older"),
    ],
)  # fmt: skip
def test_age_of_a_demonstration_is_told_and_a_snapshot_without_symbols_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    origin: str, lines: list[files.Line], status: str, said: str, unsaid: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path))
    path = files.publish(tmp_path / "snapshots", "20251105T000000Z-abc", lines)
    manifest = {"environment": "paper", "origin": origin, "tables": {}, "sequence": 1}
    path.with_name("manifest.json").write_text(json.dumps(manifest))
    view = LocalSource(load([])).view()
    assert view.status == status
    assert any(said in each.text for each in view.notices)
    assert not any(unsaid in each.text for each in view.notices)
    assert (status == "empty") == any(
        each.level == "bad" and "execintel doctor says which" in each.text for each in view.notices
    )
    assert [view.read(name).status for name in view.symbols] == [
        "ok" if origin == "demo" else "stale" for _ in lines
    ]


@pytest.mark.parametrize(
    ("origin", "ahead_s", "level", "said"),
    [
        ("logs", 58_980, "bad",
         "Stale: its as-of lies ahead of this machine's clock. Engines open nothing and only reduce"
         " until it is reached. execintel doctor says what to do."),
        ("logs", 1_800, "bad", "Engines size at most 1.00 and quote at least 2.00 bps until it is"),
        ("demo", 58_980, "warn",
         "would treat it as stale (its as-of lies ahead of this machine's clock) and open nothing"),
    ],
)  # fmt: skip
def test_an_as_of_ahead_is_said_and_the_words_stay_while_time_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    origin: str, ahead_s: int, level: str, said: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path))
    as_of_ms = time.time_ns() // 1_000_000 + 1000 * ahead_s
    name = "20251105T000000Z-abc"
    path = files.publish(tmp_path / "snapshots", name, [files.line()], as_of_ms=as_of_ms)
    manifest = {"environment": "paper", "origin": origin, "tables": {}, "sequence": 1}
    path.with_name("manifest.json").write_text(json.dumps(manifest))
    source = LocalSource(load([]))
    view = source.view()
    (notice,) = [each for each in view.notices if "ahead" in each.text]
    assert notice.level == level
    assert said in notice.text
    assert not any("older than" in each.text for each in view.notices)
    time.sleep(1.1)
    assert source.view().notices == view.notices  # else the page is drawn anew every second


def test_advice_under_hold_begins_with_a_resume(
    copy: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_ENVIRONMENT", "live")
    current = copy.resolve(None)
    manifest = copy.manifest(current) | {
        "sequence": 99, "failed_checks": ["x"], "checks": [], "created_ms": 1_762_300_800_000,
    }  # fmt: skip
    refused = copy.root / "rejected" / "20251107T000000Z-bad"
    refused.mkdir(parents=True)
    (refused / "manifest.json").write_text(json.dumps(manifest))

    def ends() -> list[str]:
        texts = [notice.text for notice in LocalSource(load([])).view().notices]
        return [text for text in texts if "refuse it" in text or "was refused" in text]

    last, other = ends()
    assert last.endswith("Mend the cause, then execintel refresh.")
    assert other.endswith(
        "EXECINTEL_ENVIRONMENT, or execintel refresh --publish makes one of live."
    )
    copy.set_hold(now_ms=1, by="ann", reason="look at it")
    last, other = ends()
    assert last.endswith("then execintel snapshots resume, then execintel refresh.")
    assert "or execintel snapshots resume, then execintel refresh --publish makes" in other


@pytest.mark.parametrize(
    ("environment", "apply", "applied"),
    [
        ("paper", None, {"size", "offset", "policy"}),  # nothing is at stake
        ("testnet", None, set()),  # orders go to a venue: somebody must say so
        ("testnet", "size", {"size"}),
    ],
)
def test_what_engines_only_note_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    environment: str, apply: str | None, applied: set[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path))
    monkeypatch.setenv("EXECINTEL_ENVIRONMENT", environment)
    if apply is not None:
        monkeypatch.setenv("EXECINTEL_APPLY", apply)
    path = files.publish(
        tmp_path / "snapshots", "20251105T000000Z-abc", [files.line()], environment=environment
    )
    manifest = {"environment": environment, "origin": "logs", "tables": {}, "sequence": 1}
    path.with_name("manifest.json").write_text(json.dumps(manifest))
    view = LocalSource(load([])).view()
    assert view.applied == applied
    said = [each.text for each in view.notices if "only note" in each.text]
    assert len(said) == (len(applied) < 3)
    assert all(word not in text.partition(":")[0] for text in said for word in applied)


def test_new_demonstration_is_not_called_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path))
    monkeypatch.setenv("EXECINTEL_SNAPSHOT_MAX_AGE_S", "3000000000")
    path = files.publish(tmp_path / "snapshots", "20251105T000000Z-abc", [files.line()])
    manifest = {"environment": "paper", "origin": "demo", "tables": {}, "sequence": 1}
    path.with_name("manifest.json").write_text(json.dumps(manifest))
    (notice,) = LocalSource(load([])).view().notices
    assert notice.text.endswith("is that of when this snapshot was new.")


def test_moment_in_the_future_is_refused_and_a_build_nobody_read_is_called_that(
    copy: Store,
) -> None:
    source = LocalSource(load([]))
    assert "it is in the future" in source.view("2999-01-01T00:00:00Z").notices[0].text
    second = copy.ids()[-1]
    never = f"{second[:-8]}abababab"
    homes.rename(copy, second, never)
    texts = [notice.text for notice in source.view(never).notices]
    assert "never published: no engine read it" in texts[0]


def test_damaged_line_of_one_symbol_leaves_the_last_good_snapshot(copy: Store) -> None:
    source = LocalSource(load([]))
    first, second = copy.ids()
    path = copy.path(second) / "live.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
    copy.publish(first, now_ms=1, by="test")
    assert source.view().snapshot_id == first
    copy.publish(second, now_ms=2, by="test")
    view = source.view()
    assert view.snapshot_id == first
    assert "shown is the last good one" in view.notices[0].text


def test_switches_are_said_first_and_not_of_the_past(copy: Store, tmp_path: Path) -> None:
    controls = Controls(tmp_path / "control")
    controls.set("kill", "flood", by="ann", now_ms=1_762_300_800_000)
    controls.disable("LINKUSDT", "delisted", None)
    source = LocalSource(load([]))
    view, past = source.view(), source.view(copy.ids()[0])
    texts = [notice.text for notice in view.notices]
    assert texts[0].startswith("KILL since 2025-11-05 00:00:00 UTC, by ann: flood.")
    assert texts[1] == "LINKUSDT is switched off until execintel enable: delisted"
    assert view.overruled("SUIUSDT") == (
        "but kill stands: engines cancel every order and open nothing"
    )
    assert not any("KILL" in each.text for each in past.notices)
    assert past.overruled("SUIUSDT") is None
    controls.set("run", "dry", by="ann", now_ms=1_762_300_900_000)
    view = source.view()
    assert view.overruled("SUIUSDT") is None
    assert view.overruled("LINKUSDT") == (
        "but LINKUSDT is switched off: engines only close what they hold of it"
    )


def test_documents_tell_the_switches_of_now_and_none_of_the_past(
    copy: Store, tmp_path: Path
) -> None:
    source = LocalSource(load([]))
    Controls(tmp_path / "control").disable("LINKUSDT", "delisted", None)
    view, past = source.view(), source.view(copy.ids()[0])
    with view.answering():
        risk = live_helpers.execution_health("LINKUSDT")["risk"]
        other = live_helpers.execution_health("SUIUSDT")["risk"]
    assert "symbol_disabled" in risk["risk_flags"]
    assert (risk["toggle_active"], risk["toggle_meta"]["reason"]) == (True, "delisted")
    assert other["toggle_active"] is False
    warnings = {row["symbol"]: row["warnings"] for row in frames.health(view).to_dicts()}
    assert "symbol_disabled" in warnings["LINKUSDT"]
    assert "symbol_disabled" not in warnings["SUIUSDT"]
    with past.answering():
        assert live_helpers.execution_health("LINKUSDT")["risk"]["toggle_active"] is None


# -- the mirror -----------------------------------------------------------------------------------


@pytest.fixture
def mirrored(copy: Store, firestore: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrored]:
    """Return what mirrors CURRENT with what a desk tells, and looks at it from afar."""
    monkeypatch.setenv("EXECINTEL_ENVIRONMENT", "testnet")
    generation = load_published(copy.root, copy.resolve(None), "testnet")
    sources: list[MirrorSource] = []

    def mirror(desk: Desk | None) -> View:
        assert publish_snapshot(generation, desk=desk).is_good
        if not sources:
            sources.append(MirrorSource(load(["--source", "firestore"])))
        sources[0]._source.look()
        return sources[0].view()

    yield mirror
    for source in sources:
        source._source.close()


def test_from_afar_it_is_told_what_stands_at_the_desk_that_mirrors(mirrored: Mirrored) -> None:
    everything = ("size", "offset", "policy")
    view = mirrored(Desk("logs", everything, None, State()))
    assert (view.status, view.notices) == ("fresh", ())
    assert (view.applied, view.overruled("SUIUSDT")) == (frozenset(everything), None)

    hold = Hold(1_762_300_800_000, "ann", "wrong fees")
    off = State(disabled={"LINKUSDT": Disabled("delisted")})
    view = mirrored(Desk("logs", (), hold, off))
    texts = [notice.text for notice in view.notices]
    assert texts[0].startswith("HOLD: nothing is published since 2025-11-05 00:00:00 UTC, by ann:")
    assert "LINKUSDT is switched off until execintel enable: delisted" in texts
    assert any("Engines of testnet only note size, offset and policy" in text for text in texts)
    assert view.applied == frozenset()
    assert "switched off" in str(view.overruled("LINKUSDT"))
    with view.answering():
        assert live_helpers.execution_health("LINKUSDT")["risk"]["toggle_active"] is True
        assert live_helpers.execution_health("SUIUSDT")["risk"]["toggle_active"] is False


def test_a_mirror_that_tells_nothing_of_its_desk_is_not_guessed_at(mirrored: Mirrored) -> None:
    view = mirrored(None)
    (notice,) = view.notices
    assert UNTOLD in notice.text
    assert view.overruled("SUIUSDT") == UNTOLD
    assert not view.is_applied_told
    with view.answering():
        assert live_helpers.execution_health("SUIUSDT")["risk"]["toggle_active"] is None


def test_generated_data_is_demo_from_afar_and_old_by_nature(
    mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_SNAPSHOT_MAX_AGE_S", "900")
    view = mirrored(Desk("demo", ("size", "offset", "policy"), None, State()))
    assert view.status == "demo"
    assert [notice.text[:14] for notice in view.notices] == ["Demonstration:"]
    assert {view.read(symbol).status for symbol in view.symbols} <= {"ok", "insufficient"}
    view = mirrored(Desk("logs", ("size", "offset", "policy"), None, State()))
    assert view.status == "stale"
    assert {view.read(symbol).status for symbol in view.symbols} == {"stale"}


@pytest.mark.parametrize(
    ("environment", "ages", "said"),
    [
        ("live", 0.5, "is of environment testnet, configured is live"),
        ("testnet", 1.1, "Engines size at most 1.00"),  # stale
        ("testnet", 3.9, "Engines size at most 1.00"),
        ("testnet", 4.1, "Engines open nothing and only reduce"),  # beyond four times that
    ],
)
def test_what_engines_do_with_it_is_said(
    copy: Store, monkeypatch: pytest.MonkeyPatch, environment: str, ages: float, said: str
) -> None:
    as_of_ms = int(copy.manifest(copy.resolve(None))["as_of_ms"])
    max_age_s = (time.time() - as_of_ms / 1000) / ages  # recorded logs grow older every day
    monkeypatch.setenv("EXECINTEL_ENVIRONMENT", environment)
    monkeypatch.setenv("EXECINTEL_SNAPSHOT_MAX_AGE_S", str(round(max_age_s)))
    assert any(said in notice.text for notice in LocalSource(load([])).view().notices)
