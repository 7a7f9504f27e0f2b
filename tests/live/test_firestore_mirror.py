"""Publishing to the real emulator: what is written, what is skipped, what survives what."""

import logging
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live import firestore_mirror
from live.firestore_mirror import (
    get_client,
    has_generation,
    publish_execution_health,
    publish_execution_intel,
    publish_router_metrics,
    publish_snapshot,
    publish_symbol_toggle,
    state,
)
from live.mirror import publication
from live.mirror.desk import Desk, Hold, desk_of
from live.mirror.documents import LARGEST_BYTES, document_id
from live.mirror.publication import Published
from live.trading.controls import Disabled, State
from tests.live import mirrors
from tests.live.files import hour_line, line
from tests.live.mirrors import assert_mirrors, generation, stored


def counts(published: Published) -> tuple[str, int, int, int]:
    return published.outcome, published.written, published.deleted, published.skipped


# -- one document ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("publish", "collection"),
    [
        (publish_execution_intel, "execution_intel"),
        (publish_execution_health, "execution_health"),
        (publish_router_metrics, "router_metrics"),
        (publish_symbol_toggle, "symbol_toggles"),
    ],
)
def test_a_payload_stands_where_the_contract_says(
    firestore: str, monkeypatch: pytest.MonkeyPatch, publish: Any, collection: str
) -> None:
    monkeypatch.setenv("HEDGE_ENV", "prod")
    assert publish("BTC/USDT", {"score": np.float64(1.5), "hours": {9: np.nan}, "none": {}})
    found = stored("prod")[f"{collection}/BTC%2FUSDT"]
    assert found.pop("updated_at") > 1_700_000_000
    assert found == {
        "symbol": "BTC/USDT", "env": "prod", "score": 1.5, "hours": {"9": None}, "none": {}
    }  # fmt: skip


def test_maps_are_replaced_as_a_whole_and_other_fields_stay(firestore: str) -> None:
    publish_execution_intel("X", {"hours": {9: 1, 10: 2}, "policy": {"a": 1}, "odd.name`": 1})
    publish_execution_intel("X", {"hours": {10: 3}, "policy": {}})
    found = stored()["execution_intel/X"]
    assert (found["hours"], found["policy"], found["odd.name`"]) == ({"10": 3}, {}, 1)


@pytest.mark.parametrize("symbol", ["..", "__x__", "a/b/c", "1000PEPE_币", "*", "`~.[]"])
def test_symbols_with_odd_characters_are_written(firestore: str, symbol: str) -> None:
    assert publish_execution_intel(symbol, {"n": 1})
    assert stored()[f"execution_intel/{document_id(symbol)}"]["symbol"] == symbol


def test_a_document_as_large_as_allowed_is_written_and_a_larger_one_refused(
    firestore: str, caplog: pytest.LogCaptureFixture
) -> None:
    # parts of 500 kB, for Firestore allows one text no more than 1,048,487 bytes
    fits = {"a": "x" * 500_000, "b": "x" * 500_000, "c": "x" * 48_300}
    assert publish_execution_intel("BIG", fits)
    assert not publish_execution_intel("BIG", fits | {"c": "x" * 50_000})
    assert not publish_execution_intel("BIG", fits | {"c": "x" * 50_000})
    (said,) = [record.message for record in caplog.records]  # once, though refused twice
    assert "hedge/dev/execution_intel/BIG would have 1,050,125 bytes" in said
    assert f"may have {LARGEST_BYTES:,}" in said
    assert (state()["refused"], state()["failed"]) == (2, 0)
    assert stored()["execution_intel/BIG"]["c"] == fits["c"]


def test_what_only_firestore_itself_refuses_does_not_count_as_an_outage(firestore: str) -> None:
    for _ in range(5):  # one text may have 89 bytes less than a document
        assert not publish_execution_intel("BIG", {"a": "x" * 1_048_490})
    assert (state()["refused"], state()["failed"], state()["is_open"]) == (5, 0, False)


def test_nothing_is_tried_and_nothing_raised_while_mirroring_is_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(firestore_mirror, "_process", firestore_mirror._Process())
    assert not publish_execution_intel("BTCUSDT", {"score": 1.0})
    assert has_generation() is None
    done = publish_snapshot(generation(tmp_path, 1, [line()]))
    assert done.outcome == "off"
    assert "GOOGLE_CLOUD_PROJECT and FIRESTORE_EMULATOR_HOST are both unset" in done.detail
    assert (state()["where"], state()["failed"]) == (None, 0)


def test_a_missing_login_is_a_failure_that_is_counted_and_not_raised(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(firestore_mirror, "_process", firestore_mirror._Process())
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "nobody")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "no-such-file.json")
    assert not publish_execution_intel("BTCUSDT", {"score": 1.0})
    assert state()["failed"] == 1
    assert "no-such-file.json" in caplog.text


def test_importing_the_mirror_loads_no_client_library() -> None:
    modules = "live.firestore_mirror, live.mirror.publisher, live.mirror.source"
    program = f"import sys, {modules}; print({{'google.cloud', 'grpc'}} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.strip() == "set()"


# -- a generation ---------------------------------------------------------------------------------


def two_hundred(**changed: Any) -> list[Any]:
    hourly = {"9": hour_line()}  # one hour: counted are documents, and the emulator takes its time
    lines = [line("*")] + [line(f"S{i}/USDT", hourly=hourly) for i in range(200)]
    if changed:
        lines[0], lines[8] = line("*", n=500), line("S7/USDT", hourly=hourly, **changed)
    return lines


def test_of_200_symbols_only_what_changed_is_written(firestore: str, tmp_path: Path) -> None:
    first = generation(tmp_path, 1, two_hundred())
    done = publish_snapshot(first)
    assert counts(done) == ("published", 401, 0, 0)
    assert done.batches == 1
    # the very same snapshot again -> nothing
    assert counts(publish_snapshot(first)) == ("unchanged", 0, 0, 400)
    # a refresh that changed nothing -> `current` alone
    assert counts(publish_snapshot(generation(tmp_path, 2, two_hundred()))) == (
        "published", 1, 0, 400
    )  # fmt: skip
    # one symbol, and with it the line over all, changed in what health shows too
    changed = generation(tmp_path, 3, two_hundred(risk={"sharpe_7d": 2.0}))
    assert counts(publish_snapshot(changed)) == ("published", 3, 0, 398)
    # one symbol changed in what only its intelligence shows
    changed = generation(tmp_path, 4, two_hundred(risk={"sharpe_7d": 2.0}, n=401))
    assert counts(publish_snapshot(changed)) == ("published", 2, 0, 399)
    assert_mirrors(changed)


def test_current_alone_is_written_again_where_the_desk_alone_changed(
    firestore: str, tmp_path: Path
) -> None:
    whole = generation(tmp_path, 1, [line("A"), line("B")])
    calm = Desk("logs", ("size", "offset", "policy"), None, State())
    publish_snapshot(whole, desk=calm)
    before = stored()
    assert counts(publish_snapshot(whole, desk=calm)) == ("unchanged", 0, 0, 4)
    for changed in (
        Desk("logs", calm.applied, Hold(1_762_300_800_000, "ann", "wrong fees"), State()),  # HOLD
        calm,  # resumed
        Desk("logs", (), None, State()),  # noted alone
        Desk("logs", (), None, State(disabled={"A": Disabled("delisted")})),
    ):
        assert counts(publish_snapshot(whole, desk=changed)) == ("published", 1, 0, 4)
        found = stored()
        current = found.pop("snapshots/current")
        told = desk_of(current)
        assert (told.origin, told.applied) == (changed.origin, changed.applied)
        assert (told.hold, told.switches) == (changed.hold, changed.switches)
        assert current["docs"] == before["snapshots/current"]["docs"]  # no hash covers it
        assert found == {p: d for p, d in before.items() if p != "snapshots/current"}
        assert counts(publish_snapshot(whole, desk=changed)) == ("unchanged", 0, 0, 4)


def test_symbols_that_are_gone_are_deleted(firestore: str, tmp_path: Path) -> None:
    publish_snapshot(generation(tmp_path, 1, [line("A"), line("B/C"), line("D")]))
    last = generation(tmp_path, 2, [line("D")])
    assert counts(publish_snapshot(last)) == ("published", 1, 4, 2)
    assert_mirrors(last)
    nothing = generation(tmp_path, 3, [])
    assert counts(publish_snapshot(nothing)) == ("published", 1, 2, 0)
    assert_mirrors(nothing)


def test_many_batches_are_one_generation(
    firestore: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "BATCH_WRITES", 6)
    publish_snapshot(generation(tmp_path, 1, mirrors.numbered(1, 4)))
    last = generation(tmp_path, 2, mirrors.numbered(2, 9))
    done = publish_snapshot(last)
    assert (done.batches, done.written) == (4, 18 + 4)  # `current` stands in each
    assert_mirrors(last)


def test_batches_are_closed_before_they_are_too_large_for_one_request(
    firestore: str, tmp_path: Path
) -> None:
    lines = [line(f"S{i}", policy={"reason": "x" * 900_000}) for i in range(3)]
    whole = generation(tmp_path, 1, lines)
    done = publish_snapshot(whole)
    assert (done.outcome, done.batches) == ("published", 2)
    assert_mirrors(whole)


class _KilledError(BaseException):
    """Stands for the end of the process: nothing may catch it."""


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_what_a_crash_left_half_is_made_good_though_its_content_is_the_old_again(
    firestore: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    from google.cloud.firestore_v1 import WriteBatch

    monkeypatch.setattr(publication, "BATCH_WRITES", 4)
    monkeypatch.setattr(WriteBatch, "commit", WriteBatch.commit)  # put back afterwards
    first = generation(tmp_path, 1, mirrors.numbered(1, 6))
    publish_snapshot(first)

    def kill(batch: int) -> None:
        if batch == killed_after:
            raise _KilledError

    with monkeypatch.context() as patched:
        patched.setattr(WriteBatch, "commit", WriteBatch.commit)
        mirrors.after_each_batch(kill)
        with pytest.raises(_KilledError, match=r"^$"):
            publish_snapshot(generation(tmp_path, 2, mirrors.numbered(2, 8)))
    # `current` still vouches for the first generation, whose documents are overwritten in part
    assert stored()["snapshots/current"]["unfinished"] == mirrors.name(2)
    third = generation(tmp_path, 3, mirrors.numbered(1, 8))
    done = publish_snapshot(third)
    assert done.outcome == "published"
    assert_mirrors(third)


def test_whatever_crashes_came_before_a_publication_leaves_exactly_its_generation(
    firestore: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.cloud.firestore_v1 import WriteBatch

    monkeypatch.setattr(publication, "BATCH_WRITES", 3)
    chance = random.Random(11)
    commit, batches, kill_at = WriteBatch.commit, 0, 0

    def committed(self: WriteBatch, *words: Any, **named: Any) -> list[Any]:
        nonlocal batches
        batches += 1
        if batches == kill_at and chance.random() < 0.3:
            raise _KilledError  # before it was sent
        results = commit(self, *words, **named)
        if batches == kill_at:
            raise _KilledError
        return results

    monkeypatch.setattr(WriteBatch, "commit", committed)
    killed = whole = 0
    for number in range(1, 61):
        # few symbols of few values: content comes back that a crash has overwritten meanwhile
        symbols = chance.sample("ABCDEF", chance.randrange(7))
        lines = [line(each, n=chance.randrange(3), hourly={}) for each in symbols]
        made = generation(tmp_path, number, lines)
        batches, kill_at = 0, chance.choice((0, 1, 2, 3))
        try:
            done = publish_snapshot(made)
        except _KilledError:
            killed += 1
            continue
        assert done.is_good, done
        assert_mirrors(made)
        whole += 1
    assert killed > 20
    assert whole > 15


def test_two_publishers_do_not_overwrite_each_other(
    firestore: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.cloud.firestore_v1 import WriteBatch

    commit = WriteBatch.commit
    publish_snapshot(generation(tmp_path, 1, [line("A"), line("B")]))
    mine = generation(tmp_path, 2, [line("A", n=2), line("B")])
    theirs = generation(tmp_path, 3, [line("A"), line("B", n=3)])

    def interrupted(self: WriteBatch, *words: Any, **named: Any) -> list[Any]:
        monkeypatch.setattr(WriteBatch, "commit", commit)
        assert publish_snapshot(theirs).outcome == "published"  # between our look and our write
        return commit(self, *words, **named)

    monkeypatch.setattr(WriteBatch, "commit", interrupted)
    done = publish_snapshot(mine)
    assert (done.outcome, done.written) == ("published", 3)  # A again, B back, `current`
    assert_mirrors(mine)


def test_a_document_that_somebody_changed_is_mended_when_asked_and_daily(
    firestore: str, tmp_path: Path
) -> None:
    whole = generation(tmp_path, 1, [line("A"), line("B")])
    publish_snapshot(whole)
    client = get_client()
    client.document("hedge/dev/execution_intel/A").update({"n": 1})
    client.document("hedge/dev/execution_health/B").delete()
    client.document("hedge/dev/execution_intel/B").update({"executor": {"status": "ok"}})
    assert publish_snapshot(whole).outcome == "unchanged"
    assert counts(publish_snapshot(whole, verify=True)) == ("published", 3, 0, 2)
    assert stored()["execution_intel/B"]["executor"] == {"status": "ok"}  # not ours: stays
    client.document("hedge/dev/execution_intel/A").update({"n": 1})
    current = client.document("hedge/dev/snapshots/current")
    current.update({"updated_at": current.get().get("updated_at") - 86_400})
    assert counts(publish_snapshot(whole)) == ("published", 2, 0, 3)
    assert_mirrors(whole)


def test_a_snapshot_that_cannot_be_stored_is_refused_whole_and_the_last_one_stays(
    firestore: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = generation(tmp_path, 1, [line("A"), line("B")])
    publish_snapshot(good)
    large = generation(tmp_path, 2, [line("A", n=2), line("B", policy={"reason": "x" * 1_100_000})])
    for _ in range(2):
        done = publish_snapshot(large)
        assert done.outcome == "refused"
        assert "hedge/dev/execution_intel/B would have 1,1" in done.detail
    assert len(caplog.records) == 1
    damaged = generation(tmp_path, 3, [line("A", n=3)])
    damaged._data = damaged._data.replace(b'"n":3', b'"n":4')
    assert "the line of A has other bytes" in publish_snapshot(damaged).detail
    assert_mirrors(good)
    assert not state()["is_open"]


def test_time_that_has_passed_is_a_failure_and_what_was_written_is_kept(
    firestore: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = generation(tmp_path, 1, [line("A")])
    done = publish_snapshot(whole, deadline_s=1e-9)
    assert (done.outcome, done.detail) == (
        "failed", "TimeoutError: the time for all calls of one snapshot has passed"
    )  # fmt: skip
    assert publish_snapshot(whole).outcome == "published"


def test_messages_of_a_failure_hold_no_secret(
    firestore: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="live")
    monkeypatch.setenv("GOOGLE_API_KEY", "AIza-secret")
    publish_execution_intel("A", {"n": 1})
    assert "AIza" not in caplog.text + repr(state())
