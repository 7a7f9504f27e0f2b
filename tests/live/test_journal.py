"""Whole lines whatever happens: kills, full disks, unwritable folders; and a restart goes on."""

import errno
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from live.market import Direction, Signal
from live.trading import journal, restart
from live.trading.journal import Journal, LineFile, Record
from live.trading.restart import Kept, merged
from live.venues.paper import PaperConfig
from tests.disks import disk_full_at
from tests.live.trading import Desk, Script, bar
from tests.waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
P = 100_000.0
FLAT = [bar("BTCUSDT", n, P) for n in range(40)]


class State(msgspec.Struct):
    seq: int = 0
    word: str = ""


class Change(Record, kw_only=True):
    word: str = ""


# -- files --------------------------------------------------------------------------------------


def test_half_line_is_ended_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "order_metrics.jsonl"
    path.write_bytes(b'{"a":1}\n{"b":')
    LineFile(path).append(b'{"c":3}\n')
    assert path.read_bytes() == b'{"a":1}\n{"b":\n{"c":3}\n'


@pytest.mark.parametrize("is_taken_back", [True, False])
def test_write_that_fails_halfway_is_taken_back_or_ended_and_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_taken_back: bool
) -> None:
    file = Journal(tmp_path, None)
    file.write(Change(seq=1), [("log", {"n": 1})])
    real = os.write

    def full(fd: int, data: bytes) -> int:
        if not data.startswith(b"{"):
            raise OSError(28, "No space left on device")
        return real(fd, data[:3])

    def refuse(fd: int, size: int) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_write", full)
        if not is_taken_back:
            patch.setattr(os, "ftruncate", refuse)
        assert file.write(Change(seq=2), [("log", {"n": 2})]) is False
    assert "No space left" in str(file.problem)
    assert file.flush()
    assert file.problem is None
    half = b"" if is_taken_back else b'{"n\n'
    assert (tmp_path / "log.jsonl").read_bytes() == b'{"n":1}\n' + half + b'{"n":2}\n'


def test_renamed_log_is_followed_by_a_new_one(tmp_path: Path) -> None:
    file = Journal(tmp_path, None)
    file.write(Change(seq=1), [("log", {"n": 1})])
    (tmp_path / "log.jsonl").rename(tmp_path / "log.1.jsonl")
    file.write(Change(seq=2), [("log", {"n": 2})])
    assert (tmp_path / "log.1.jsonl").read_bytes() == b'{"n":1}\n'
    assert (tmp_path / "log.jsonl").read_bytes() == b'{"n":2}\n'


@pytest.mark.parametrize("cut", range(24))
def test_kill_between_journal_and_log_loses_and_doubles_no_line(tmp_path: Path, cut: int) -> None:
    first = Journal(tmp_path / "logs", tmp_path / "state")
    first.write(Change(seq=1, word="a"), [("log", {"n": 1})])
    first.write(Change(seq=2, word="b"), [("log", {"n": 2}), ("other", {"n": 22})])
    log = tmp_path / "logs" / "log.jsonl"
    log.write_bytes(log.read_bytes()[: max(0, 16 - cut)])  # the kill came before these bytes
    second = Journal(tmp_path / "logs", tmp_path / "state")
    state, records = second.restore(State, Change)
    assert state is None
    assert [record.word for record in records] == ["a", "b"]
    lines = log.read_bytes().splitlines()
    assert lines.count(b'{"n":2}') == 1
    assert (tmp_path / "logs" / "other.jsonl").read_bytes() == b'{"n":22}\n'


def test_half_journal_record_was_never_acted_on(tmp_path: Path) -> None:
    first = Journal(tmp_path / "logs", tmp_path / "state")
    first.write(Change(seq=1, word="a"))
    with (tmp_path / "state" / "journal.jsonl").open("ab") as file:
        file.write(b'{"seq":2,"word":"b')
    second = Journal(tmp_path / "logs", tmp_path / "state")
    _, records = second.restore(State, Change)
    assert [record.word for record in records] == ["a"]
    second.write(Change(seq=2, word="c"))
    _, records = Journal(tmp_path / "logs", tmp_path / "state").restore(State, Change)
    assert [record.word for record in records] == ["a", "c"]


def test_a_damaged_line_in_the_middle_is_told_and_the_others_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Journal(tmp_path / "logs", tmp_path / "state")
    for seq, word in enumerate("abc", 1):
        first.write(Change(seq=seq, word=word))
    path = tmp_path / "state" / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"b"', b'"\xe9"'))
    _, records = Journal(tmp_path / "logs", tmp_path / "state").restore(State, Change)
    assert [record.word for record in records] == ["a", "c"]
    assert f"{path}: lines 2 cannot be read" in caplog.text


def test_a_state_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b'{"word":"\xe9"}')
    with pytest.raises(ValueError, match=r"state\.json is no state of an engine"):
        Journal(tmp_path / "logs", tmp_path).restore(State, Change)


def test_lines_that_are_lost_with_the_process_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = Journal(tmp_path, None)
    with disk_full_at(0):
        assert file.write(Change(seq=1), [("log", {"n": 1}), ("log", {"n": 2})]) is False
        file.close()
    assert "2 lines could not be written and are lost with this process" in caplog.text


def test_checkpoint_replaces_the_journal(tmp_path: Path) -> None:
    first = Journal(tmp_path / "logs", tmp_path / "state")
    first.write(Change(seq=1, word="a"))
    first.checkpoint(State(1, "kept"))
    first.write(Change(seq=2, word="b"))
    state, records = Journal(tmp_path / "logs", tmp_path / "state").restore(State, Change)
    assert state == State(1, "kept")
    assert [record.word for record in records] == ["b"]


# -- the engine ---------------------------------------------------------------------------------


def test_unwritable_log_folder_opens_nothing_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    desk = Desk(tmp_path, Script({0: "LONG"}, wants_maker=False))
    desk.play(*FLAT[:2])
    assert desk.position == 0
    assert "no position is opened until it can" in caplog.text
    (tmp_path / "logs").unlink()
    desk.play(*FLAT[2:4])
    assert desk.vetoes() == ["unwritable_log"]  # what waited is written


def test_full_disk_in_mid_trade_still_closes_and_loses_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, Script({0: "LONG", 3: "NOOP", 6: "LONG"}, wants_maker=False))
    desk.play(*FLAT[:2])
    assert desk.position > 0

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_write", full)
        desk.play(*FLAT[2:9])
        assert desk.position == 0  # what only reduces goes on
    assert len(desk.outcomes()) == 1
    desk.play(*FLAT[9:11])
    assert len(desk.outcomes()) == 2
    assert desk.vetoes() == ["unwritable_log"]
    assert [x["result"]["status"] for x in desk.outcomes()] == ["FILLED", "FILLED"]


def test_disk_that_does_not_confirm_an_order_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, Script({1: "LONG", 2: "LONG", 4: "LONG"}, wants_maker=False))
    desk.engine.executor.journal._durable = True  # as with real money

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        desk.play(*FLAT[:4])
    assert desk.position == 0
    assert [x["reason"] for x in desk.outcomes()] == ["unwritable_log"]
    assert desk.vetoes() == ["unwritable_log"]
    desk.play(*FLAT[4:6])
    assert desk.position > 0


def test_restart_keeps_position_lots_and_trade(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG", 6: "NOOP"}, wants_maker=False))
    desk.play(*FLAT[:3])
    before = desk.engine.executor
    desk.start()
    after = desk.engine.executor
    assert after.lots.positions() == before.lots.positions()
    assert after.sleeves == before.sleeves
    desk.play(*FLAT[3:9])
    assert desk.position == 0
    assert desk.closed[0].trade_id == desk.outcomes()[0]["attempt_id"]


def test_restart_ends_what_was_in_flight_and_takes_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}))
    desk.play(FLAT[0])
    assert len(desk.paper.open_orders()) == 1
    desk.start()
    desk.play(*FLAT[1:3])
    assert desk.paper.open_orders() == []
    assert [(x["result"]["status"], x["reason"]) for x in desk.outcomes()] == [
        ("CANCELED", "restart")
    ]


def test_restart_goes_on_closing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG", 3: "NOOP"}, wants_maker=False))
    desk.play(*FLAT[:4])
    desk.start()
    desk.play(*FLAT[4:8])
    assert desk.position == 0
    assert len(desk.closed) == 1


def test_no_order_id_is_used_again_after_restarts(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({n: ("LONG", "SHORT")[n % 2] for n in range(30)}))
    for one in FLAT[:30]:
        desk.play(one)
        desk.start()  # within the same millisecond
    ids = [x["clientOrderId"] for x in desk.orders("order_ack")]
    assert len(ids) > 20
    assert len(ids) == len(set(ids))
    attempts = [x["attempt_id"] for x in desk.lines("orders_attempted")]
    assert len(attempts) == len(set(attempts))


NO_NUMBERS = {"rsi": float("nan"), "beyond": float("inf"), "is_up": True, "atr": np.float32(0.5)}


@pytest.mark.parametrize("is_killed", [True, False])  # False: it stops in order, all in one state
def test_restart_reads_what_a_strategy_said_of_unknown_features(
    tmp_path: Path, is_killed: bool
) -> None:
    more = {"features": NO_NUMBERS, "stop_loss": 99_000.0}
    desk = Desk(tmp_path, Script({0: "LONG"}, wants_maker=False, more=more))
    desk.play(*FLAT[:3])
    if not is_killed:
        desk.engine.close()
    state, records = Journal(tmp_path / "logs", tmp_path / "state").restore(Kept, restart.Record)
    ((_, _, sleeve),) = merged(state or Kept(), records).sleeves
    assert sleeve.signal.features == {"rsi": None, "beyond": None, "is_up": True, "atr": 0.5}
    desk.start()
    desk.play(*(bar("BTCUSDT", n, 98_000.0) for n in range(3, 6)))
    assert desk.position == 0  # the stop is kept
    assert len(desk.closed) == 1


def test_restart_ends_an_order_whose_signal_has_unknown_features(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}, more={"features": NO_NUMBERS}), maker_window_s=3600)
    desk.play(FLAT[0])
    assert len(desk.paper.open_orders()) == 1
    desk.start()
    desk.play(*FLAT[1:3])
    assert desk.paper.open_orders() == []
    assert [x["reason"] for x in desk.outcomes()] == ["restart"]


@pytest.mark.parametrize("values", [{"price": float("nan")}, {"confidence": float("inf")}])
def test_signal_that_a_restart_could_not_read_is_refused(values: dict[str, float]) -> None:
    usual: dict[str, Any] = {"price": P, "confidence": 0.6}
    with pytest.raises(ValueError, match="must be a finite number"):
        Signal("script", "BTCUSDT", "LONG", 1, **{**usual, **values})


@pytest.mark.parametrize("equity", [float("nan"), float("inf")])
def test_equity_that_is_no_number_is_unknown_and_no_peak(tmp_path: Path, equity: float) -> None:
    desk = Desk(tmp_path, Script({}))
    desk.play(FLAT[0])
    desk.paper.cash_usd, before = equity, desk.paper.cash_usd
    desk.engine.step()
    assert desk.engine.executor.guard.equity_usd is None
    desk.paper.cash_usd = before
    desk.engine.close()
    desk.start()
    assert desk.engine.executor.guard.drawdown.peaks.high_usd == 10_000.0


# -- reconciliation -----------------------------------------------------------------------------


def test_position_that_is_not_ours_means_reduce_only_until_a_person_resumes(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({1: "LONG", 5: "LONG"}, wants_maker=False))
    desk.play(FLAT[0])
    desk.paper._hold("BTCUSDT", "BOTH", 0.004, P)  # somebody traded by hand
    desk.paper.cash_usd -= 0.004 * P
    desk.start()
    desk.play(*FLAT[1:4])
    assert desk.vetoes() == ["unreconciled"]
    assert "0.004 at the venue, 0 here" in desk.engine.executor.summary()
    desk.controls.set("run", "it was me", by="me", now_ms=desk.clock.now_ms())
    desk.play(*FLAT[4:8])
    assert desk.position == pytest.approx(0.014)
    assert desk.engine.executor.is_reconciled


def test_order_of_ours_that_nobody_knows_is_cancelled(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}), maker_window_s=3600)
    desk.play(FLAT[0])
    shutil.rmtree(tmp_path / "state")  # the journal is lost, the order is not
    desk.start()
    desk.play(*FLAT[1:3])
    assert desk.paper.open_orders() == []
    assert desk.position == 0


def test_money_that_own_fills_do_not_explain_means_reduce_only(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({4: "LONG"}, wants_maker=False))
    desk.play(*FLAT[:2])
    desk.paper.cash_usd += 100.0
    desk.play(*FLAT[2:6])
    assert desk.vetoes() == ["unreconciled"]
    assert "equity is +100.00 USD off" in desk.engine.executor.summary()


def test_venue_that_rejects_everything_never_stops_the_loop(tmp_path: Path) -> None:
    says: dict[int, Direction] = {n: ("LONG", "NOOP")[n % 2] for n in range(20)}
    desk = Desk(tmp_path, Script(says), config=PaperConfig(reject_rate=1.0))
    desk.play(*FLAT[:20])
    assert {x["result"]["status"] for x in desk.outcomes()} == {"REJECTED"}
    assert len(desk.outcomes()) == 10


# -- SIGKILL ------------------------------------------------------------------------------------


def child(root: Path, seed: int, bars: int, pause_s: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.live.engine_child", str(root), str(seed), str(bars),
         str(pause_s)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def has_lines(path: Path, lines_n: int) -> bool:
    return path.exists() and path.read_bytes().count(b"\n") >= lines_n


def test_sigkill_at_random_moments_leaves_whole_lines_and_a_restart_goes_on(tmp_path: Path) -> None:
    rng = random.Random(7)
    for round_n in range(4):
        process = child(tmp_path, round_n, 2_000, 0.0005)
        assert process.stdout is not None
        assert process.stdout.readline() == "trading\n"
        log, lines_n = tmp_path / "logs" / "order_metrics.jsonl", 6 * (round_n + 1)
        wait_until(f"{lines_n} lines", partial(has_lines, log, lines_n), within_s=120)
        time.sleep(rng.uniform(0.0, 0.4))
        process.kill()
        process.wait()
        process.stdout.close()
        for path in (tmp_path / "logs").glob("*.jsonl"):
            *whole, last = path.read_bytes().split(b"\n")
            broken = [n for n, line in enumerate(whole) if not is_json(line)]
            assert len(broken) <= round_n, f"{path.name}: only a kill's last line may be half"
            assert last == b"" or not is_json(last)
    ended = Counter(
        json.loads(text)["attempt_id"]
        for text in (tmp_path / "logs" / "order_metrics.jsonl").read_bytes().splitlines()
        if is_json(text)
    )
    assert len(ended) > 20
    assert set(ended.values()) == {1}
    ids = Counter(
        json.loads(text)["clientOrderId"]
        for text in (tmp_path / "logs" / "orders_executed.jsonl").read_bytes().splitlines()
        if is_json(text) and json.loads(text)["event_type"] == "order_ack"
    )
    assert set(ids.values()) == {1}


def is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def test_disk_that_is_really_full_ends_nothing(tmp_path: Path) -> None:
    """Write against a limit of the kernel, not a stand-in for one."""
    program = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))\n"
        "from tests.live.engine_child import main\n"
        "main(sys.argv[1], '1', '60', '0')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "done" in done.stdout
    assert "cannot write" in done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    for path in (tmp_path / "logs").glob("*.jsonl"):
        lines = path.read_bytes().split(b"\n")
        assert sum(not is_json(line) for line in lines if line) <= 1
