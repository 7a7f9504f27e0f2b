"""Documents: what they hold, what they are called, what is refused, and the way back."""

import datetime as dt
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.mirror.documents import (
    LARGEST_BYTES,
    DocumentError,
    clean,
    content_hash,
    document_id,
    document_size,
    documents_of,
    name_of,
    record_of,
    size_of,
)
from live.snapshot.generation import Generation, load
from live.snapshot.records import Record
from tests.live import files
from tests.live.files import hour_line, line

ID = "20251105T000000Z-aaaaaaaa"
ALL_LINE: dict[str, Any] = dict.fromkeys(
    ("score", "size", "regime", "policy", "risk", "offsets_bps")
)


def generation(tmp_path: Path, *lines: files.Line, snapshot_id: str = ID) -> Generation:
    files.publish(tmp_path, snapshot_id, lines)
    return load(tmp_path, snapshot_id, "paper")


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("BTCUSDT", "BTCUSDT"),
        ("binance:BTC-USDT_240927", "binance:BTC-USDT_240927"),  # a key with its venue -> as it is
        ("BTC/USDT:USDT", "BTC%2FUSDT:USDT"),  # a slash would be another level
        ("100%", "100%25"),  # the escape itself
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("...", "..."),  # only one and two dots are reserved
        ("__id__", "%5F_id__"),  # reserved
        ("1000PEPE_币", "1000PEPE_%E5%B8%81"),
        ("a\nb", "a%0Ab"),
    ],
)
def test_a_symbol_becomes_a_document_id_and_comes_back(symbol: str, expected: str) -> None:
    assert document_id(symbol) == expected
    assert name_of(expected) == symbol


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=150))
def test_any_symbol_comes_back_and_is_allowed(symbol: str) -> None:
    written = document_id(symbol)
    assert name_of(written) == symbol
    assert "/" not in written
    assert written not in (".", "..")
    assert not (written.startswith("__") and written.endswith("__") and len(written) > 3)


@pytest.mark.parametrize(
    ("symbol", "words"),
    [("", "0 bytes"), ("X" * 1501, "1501 bytes"), ("\ud800", "no text")],
)
def test_a_symbol_that_cannot_be_an_id_is_refused(symbol: str, words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        document_id(symbol)


# -- values ---------------------------------------------------------------------------------------


def test_values_become_what_firestore_stores() -> None:
    when = dt.datetime(2025, 11, 5, tzinfo=dt.UTC)
    payload = {
        "i": np.int64(7), "f": np.float32(0.5), "b": np.bool_(True), "s": np.str_("x"),
        "array": np.array([1.5, math.nan]), "nan": math.nan, "inf": -math.inf,
        "npnan": np.float64("nan"), "d": Decimal("1.25"), "dnan": Decimal("NaN"),
        "empty": {}, "hours": {0: 1, np.int64(23): 2}, "tuple": (1, None), "when": when,
        "bytes": b"x",
    }  # fmt: skip
    cleaned = clean(payload)
    assert cleaned == {
        "i": 7, "f": 0.5, "b": True, "s": "x", "array": [1.5, None], "nan": None, "inf": None,
        "npnan": None, "d": 1.25, "dnan": None, "empty": {}, "hours": {"0": 1, "23": 2},
        "tuple": [1, None], "when": when, "bytes": b"x",
    }  # fmt: skip
    assert {type(cleaned[name]) for name in "ifbs"} == {int, float, bool, str}


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"a": {"b": object()}}, r"document\.a\.b is a object"),
        ({"a": {1, 2}}, r"document\.a is a set"),
        ({"day": dt.date(2025, 1, 1)}, r"document\.day is a date"),
        ({"naive": dt.datetime(2025, 1, 1)}, r"document\.naive is a datetime"),  # noqa: DTZ001
        ({"a": [[1]]}, r"document\.a holds a list in a list"),
        ({"n": 2**63}, r"document\.n = 9223372036854775808 does not fit"),
        ({"t": "\ud800"}, r"document\.t is no text"),
        ({"": 1}, "field named ''"),
        ({"__a__": 1}, "field named '__a__'"),
        ({"x" * 1501: 1}, "names have 1 to 1500 bytes"),
        ({1: "a", "1": "b"}, "two fields that are '1'"),
    ],
)
def test_what_firestore_cannot_hold_is_refused_by_name(payload: Any, words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        clean(payload)


def test_depth_ends_at_twenty_levels() -> None:
    deep: Any = 1
    for _ in range(20):
        deep = {"x": deep}
    assert clean(deep) == deep
    with pytest.raises(DocumentError, match="deeper than 20"):
        clean({"x": deep})


def test_size_is_counted_as_firestores_documentation_does() -> None:
    # users/jeff/tasks/my_task_id of its example: 44 bytes of name, 32 of document, 71 of fields
    task = {
        "type": "Personal",
        "done": False,
        "priority": 1,
        "description": "Learn Cloud Firestore",
    }
    assert document_size("users/jeff/tasks/my_task_id", task) == 147
    assert size_of([None, True, 1, 1.5, b"abc", {}]) == 1 + 1 + 8 + 8 + 3 + 32


def test_a_document_of_more_than_a_mebibyte_is_refused() -> None:
    rest = document_size("a/b", {"t": ""})
    assert document_size("a/b", {"t": "x" * (LARGEST_BYTES - rest)}) == LARGEST_BYTES
    with pytest.raises(DocumentError, match=r"a/b would have 1,048,577 bytes, .* 1,048,576"):
        document_size("a/b", {"t": "x" * (LARGEST_BYTES - rest + 1)})


# -- a generation ---------------------------------------------------------------------------------


def test_a_symbol_has_the_fields_of_the_contract(tmp_path: Path) -> None:
    hours = {"9": hour_line(), "10": hour_line(count=5)}
    made = documents_of(generation(tmp_path, line(hourly=hours, offsets_bps=[1.5, 2.0])), "dev")
    document = made.documents["execution_intel/BTCUSDT"]
    assert document["symbol"] == "BTCUSDT"
    assert document["score"] == 0.75
    assert document["components"]["sharpe_score"] == 0.5
    assert document["hourly_expectancy"]["10"] == hour_line(count=5)
    assert list(document["hourly_expectancy"]) == ["9", "10"]
    assert document["size_factor"] == 1.25
    assert document["maker_offset_bps"] == {"0": 1.5, "1": 2.0}
    assert document["policy"]["maker_first"] is True
    assert (document["env"], document["snapshot_id"], document["as_of"]) == ("dev", ID, files.T)
    assert json.dumps(document)  # plain values through and through


@pytest.mark.parametrize(
    "values",
    [
        line(),
        line("*", **ALL_LINE),  # the line over all symbols knows router and hours only
        line(hourly={}, offsets_bps=[]),  # empty -> stays empty
        line(hourly=None, score=None, size=None),  # unknown -> stays unknown
        line(size={"final_size_factor": None}, score={"score": None, "missing": ["sharpe"]}),
        line(status="insufficient", n=0, offsets_bps=[None] * 24),
    ],
)
def test_a_document_gives_back_the_very_record(tmp_path: Path, values: files.Line) -> None:
    whole = generation(tmp_path, values)
    made = documents_of(whole, "dev")
    symbol = values["symbol"]
    stored = made.current["all"] if symbol == "*" else made.documents[f"execution_intel/{symbol}"]
    entry = whole.entry(symbol)
    assert entry is not None
    assert (
        record_of(json.loads(json.dumps(stored)), json.loads(json.dumps(made.current)))
        == entry.record
    )


def test_a_part_that_a_record_gains_must_be_mirrored_too() -> None:
    # whoever adds one here adds it to intel_document and record_of
    mirrored = {"symbol", "n", "status", "score", "size", "regime", "router", "policy", "risk"}
    mirrored |= {"offsets_bps", "hourly", "snapshot_id", "as_of_ms"}
    assert set(Record.__struct_fields__) == mirrored


def test_health_is_that_of_the_new_snapshot_at_any_hour(tmp_path: Path) -> None:
    from live import intel

    whole = generation(
        tmp_path, line(offsets_bps=[1.0] * 12 + [3.0] * 12), line("FEW", status="insufficient")
    )
    made = documents_of(whole, "dev")
    health = made.documents["execution_health/BTCUSDT"]
    assert health["router"]["maker_offset_bps"] == {
        str(h): 1.0 if h < 12 else 3.0 for h in range(24)
    }
    assert (health["status"], health["sizing"]["applied_size_factor"]) == ("ok", 1.25)
    careful = made.documents["execution_health/FEW"]
    assert (careful["status"], careful["sizing"]["applied_size_factor"]) == ("insufficient", 1.0)
    assert set(careful["router"]["maker_offset_bps"].values()) == {2.0}
    # a document of today's call has the same parts
    intel.configure(tmp_path, environment="paper")
    usual = intel.compute_execution_health("BTCUSDT")
    for part in ("router", "risk", "vol", "sizing"):
        assert set(health[part]) == set(usual[part])


def test_equal_content_has_one_hash_whatever_snapshot_it_came_with(tmp_path: Path) -> None:
    first = documents_of(generation(tmp_path, line(), line("ETHUSDT")), "dev")
    later_id = "20251105T000500Z-bbbbbbbb"
    later = documents_of(
        generation(tmp_path, line(), line("ETHUSDT", n=401), snapshot_id=later_id), "dev"
    )
    same, other = "execution_intel/BTCUSDT", "execution_intel/ETHUSDT"
    assert first.hashes[same] == later.hashes[same]
    assert first.hashes[other] != later.hashes[other]
    assert first.hashes["execution_health/ETHUSDT"] == later.hashes["execution_health/ETHUSDT"]
    stamped = {**first.documents[same], "updated_at": 5, "executor": {"status": "ok"}}
    assert content_hash(stamped) == first.hashes[same]
    assert content_hash({**stamped, "n": 400.0}) != first.hashes[same]  # another type


def test_equity_that_all_symbols_share_stands_once_in_current(tmp_path: Path) -> None:
    def made(number: int, *equities_usd: float | None) -> Any:
        lines = [line(f"S{i}", risk={"equity_usd": e}) for i, e in enumerate(equities_usd)]
        whole = generation(tmp_path, line("*", **ALL_LINE), *lines, snapshot_id=f"{ID}{number}")
        return whole, documents_of(whole, "dev")

    (_, before), (whole, after) = made(1, 2500.0, 2500.0), made(2, 2600.0, 2600.0)
    assert after.current["equity_usd"] == 2600.0
    assert before.hashes == after.hashes  # a trade of one symbol leaves the others' as they are
    found = record_of(after.documents["execution_intel/S1"], after.current)
    assert found == whole.entry("S1").record
    whole, apart = made(3, 2500.0, None)
    assert apart.current["equity_usd"] is None
    for symbol in ("S0", "S1"):
        found = record_of(apart.documents[f"execution_intel/{symbol}"], apart.current)
        assert found == whole.entry(symbol).record


def test_more_symbols_than_one_current_can_name_are_refused(tmp_path: Path) -> None:
    few: dict[str, Any] = {"hourly": {}, "offsets_bps": None}
    names = [f"{'X' * 600}{number}" for number in range(1000)]
    whole = generation(tmp_path, *(line(name, **few) for name in names))
    with pytest.raises(
        DocumentError, match=r"hedge/dev/snapshots/current would have 1,\d{3},\d{3}"
    ):
        documents_of(whole, "dev")
