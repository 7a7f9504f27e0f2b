"""The corpus of bad and odd lines: all in one file, good lines around each of them kept."""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from features import reasons
from tests.pipelines.intake.desk import NOW_MS, ROUTER, TS, Desk, Row, line


@dataclass(frozen=True)
class Case:
    """A line without its newline, why it is rejected (None: it is not), and what its row holds."""

    name: str
    data: bytes
    reason: str | None
    row: dict[str, Any] = field(default_factory=dict)


def case(name: str, data: bytes | str, reason: str | None = None, /, **row: Any) -> Case:
    return Case(name, data.encode() if isinstance(data, str) else data, reason, row)


def of(name: str, members: str, reason: str | None = None, /, **row: Any) -> Case:
    """Make a case of a good line with ``members`` at its end."""
    return case(name, f'{{"ts": {TS}, "symbol": "X", {members}}}', reason, **row)


def at(name: str, time: str, reason: str | None = None, /, **row: Any) -> Case:
    """Make a case of a good line whose time is written as ``time``."""
    return case(name, f'{{"symbol": "X", "ts": {time}}}', reason, **row)


GOOD = line("good")[:-1]
MARK = "not_a_number:prices.mark"
DEEP = "[" * 5_000 + "]" * 5_000
MS = 1_762_330_296_500
FUTURE_S = NOW_MS / 1000 + 86_401
CORPUS = [
    # lines that are no JSON object
    case("plain text", "hello", "not_json"),
    case("half a line", GOOD[:30], "not_json"),
    case("two lines glued", GOOD + GOOD, "not_json"),
    case("a half line glued to a whole one", GOOD[:30] + GOOD, "not_json"),
    case("a whole line glued to a half one", GOOD + GOOD[:30], "not_json"),
    case("text behind the object", GOOD + b" x", "not_json"),
    case("a comment", "// " + GOOD.decode(), "not_json"),
    case("single quotes", GOOD.replace(b'"', b"'"), "not_json"),
    case("keys without quotes", f"{{ts: {TS}, symbol: 1}}", "not_json"),
    case("Python's None", of("", '"side": None').data, "not_json"),
    case("a leading zero", at("", "01762330296").data, "not_json"),
    case("a number that starts with a point", of("", '"slippage": .5').data, "not_json"),
    case("a byte order mark in mid-file", b"\xef\xbb\xbf" + GOOD, "not_json"),
    case("only an opening bracket", "[", "not_json"),
    case("only brackets, never closed", "[" * 100_000, "not_json"),
    case("an array", "[1, 2]", "not_an_object"),
    case("an array of one good line", b"[" + GOOD + b"]", "not_an_object"),
    case("a number", "42", "not_an_object"),
    case("a text", '"order"', "not_an_object"),
    case("null", "null", "not_an_object"),
    case("true", "true", "not_an_object"),
    case("NaN", "NaN", "not_an_object"),
    # bytes
    case("nothing", "", "blank_line"),
    case("only white space", " \t ", "blank_line"),
    case("bytes that are not UTF-8", GOOD.replace(b"BTCUSDT", b"\xff\xfe"), "not_utf8"),
    case("a cut UTF-8 sequence", GOOD[:-1] + "€".encode()[:2], "not_utf8"),
    case("an encoded surrogate", GOOD.replace(b"BTCUSDT", b"\xed\xa0\x80"), "not_utf8"),
    case("a NUL byte", GOOD.replace(b"BTCUSDT", b"BTC\0"), "not_json"),
    case("only NUL bytes", b"\0" * 4096, "not_json"),
    case("a control character", GOOD.replace(b"BTCUSDT", b"BTC\x01"), "not_json"),
    case("a lone carriage return in a text", GOOD.replace(b"BTCUSDT", b"BTC\r"), "not_json"),
    case("a lone carriage return between fields", GOOD.replace(b", ", b",\r"), None, side="BUY"),
    case("a carriage return at the end", GOOD + b"\r", None, side="BUY"),
    case("white space around", b" \t" + GOOD + b"  ", None, side="BUY"),
    # time
    case("an empty object", "{}", "missing_time"),
    case("no time", '{"symbol": "X"}', "missing_time"),
    case("a time under another case", f'{{"symbol": "X", "TS": {TS}}}', "missing_time"),
    at("time null", "null", "missing_time"),
    at("time empty", '""', "unparseable_time"),
    at("time in words", '"yesterday"', "unparseable_time"),
    at("time true", "true", "unparseable_time"),
    at("time an object", "{}", "unparseable_time"),
    at("time an array", f"[{TS}]", "unparseable_time"),
    at("time NaN", "NaN", "unparseable_time"),
    at("time infinite", "Infinity", "unparseable_time"),
    at("time beyond every number", "1e999", "unparseable_time"),
    at("time negative", f"-{TS}", "unparseable_time"),
    at("time zero", "0", "unparseable_time"),
    at("time in 1970", '"1970-01-01T00:00:07Z"', "unparseable_time"),
    at("time in microseconds", "1762330296500000", "unparseable_time"),
    at("time in nanoseconds", "1762330296500000000", "unparseable_time"),
    at("a day that does not exist", '"2025-02-30T00:00:00Z"', "unparseable_time"),
    at("an hour that does not exist", '"2025-02-03T25:00:00Z"', "unparseable_time"),
    at("a time of day", '"08:11:36"', "unparseable_time"),
    at("more than a day ahead", f"{FUTURE_S}", "future_time"),
    at("more than a day ahead, ISO", '"2031-01-01T00:00:00Z"', "future_time"),
    at("less than a day ahead", f"{FUTURE_S - 2}", None, event_ms=int(FUTURE_S - 2) * 1000),
    at("milliseconds", f"{MS}", None, event_ms=MS, at_utc="2025-11-05T08:11:36.500000"),
    at("seconds as text", f'"{TS}"', None, event_ms=MS),
    at("seconds with six decimals", "1762330296.123456", None, at_utc="2025-11-05T08:11:36.123456"),
    at("ISO with Z", '"2025-11-05T08:11:36.500Z"', None, event_ms=MS),
    at("ISO with an offset", '"2025-11-05T10:11:36.500+02:00"', None, event_ms=MS),
    at("ISO without zone", '"2025-11-05 08:11:36.5"', None, event_ms=MS),
    at("a date", '"2025-11-05"', None, event_ms=1_762_300_800_000),
    of("another time that is none", '"decision_ts": "soon"', "not_a_time:decision_ts"),
    of("another time in nanoseconds", '"ack_ts": 1762330296500000000', "not_a_time:ack_ts"),
    of("another time null", '"ack_ts": null', None, ack_at_ms=None),
    # symbol
    case("no symbol", f'{{"ts": {TS}}}', "missing_symbol"),
    case("symbol null", f'{{"ts": {TS}, "symbol": null}}', "missing_symbol"),
    case("symbol empty", f'{{"ts": {TS}, "symbol": ""}}', "missing_symbol"),
    case("symbol blank", f'{{"ts": {TS}, "symbol": "  "}}', "missing_symbol"),
    case("symbol an object", f'{{"ts": {TS}, "symbol": {{"a": 1}}}}', "not_a_symbol"),
    case("symbol an array", f'{{"ts": {TS}, "symbol": ["BTC"]}}', "not_a_symbol"),
    case("symbol of all symbols", f'{{"ts": {TS}, "symbol": " * "}}', "not_a_symbol"),
    case("symbol lower case", f'{{"ts": {TS}, "symbol": " sOlusdt "}}', None, symbol="SOLUSDT"),
    case("symbol in Chinese", f'{{"ts": {TS}, "symbol": "币安usdt"}}', None, symbol="币安USDT"),
    case("symbol a number", f'{{"ts": {TS}, "symbol": 1000}}', None, symbol="1000"),
    # numbers
    of("a price that is an object", '"prices": {"mark": {}}', MARK),
    of("a price that is an array", '"prices": {"mark": [1]}', MARK),
    of("a price that is true", '"prices": {"mark": true}', MARK),
    of("a price that is false", '"prices": {"mark": false}', MARK),
    of("a price in words", '"prices": {"mark": "one"}', MARK),
    of("a price that is empty", '"prices": {"mark": ""}', MARK),
    of("a price in hexadecimal", '"prices": {"mark": "0x10"}', MARK),
    of("a price as text", '"prices": {"mark": "2.50"}', None, mark_px=2.5, nulled_n=0),
    of("a price null", '"prices": {"mark": null}', None, mark_px=None, nulled_n=0),
    of("a price NaN", '"prices": {"mark": NaN}', None, mark_px=None, nulled_n=1),
    of("a price Infinity", '"prices": {"mark": Infinity}', None, mark_px=None, nulled_n=1),
    of("a price -Infinity", '"prices": {"mark": -Infinity}', None, mark_px=None, nulled_n=1),
    of("a price 1e999", '"prices": {"mark": 1e999}', None, mark_px=None, nulled_n=1),
    of("a price of 1e15", '"prices": {"mark": 1e15}', None, mark_px=None, nulled_n=1),
    of("a price of 23 digits", f'"prices": {{"mark": {"9" * 23}}}', None, mark_px=None, nulled_n=1),
    of("NaN as text", '"prices": {"mark": "nan"}', None, mark_px=None, nulled_n=1),
    of("a price next to nothing", '"prices": {"mark": 1e-320}', None, mark_px=1e-320),
    of("a price of zero", '"prices": {"avg_fill": 0.0}', None, fill_px=0.0),
    of("a price of minus zero", '"prices": {"mark": -0.0}', None, mark_px=0.0),
    of("a negative price", '"prices": {"mark": -0.01}', "negative:prices.mark"),
    of("a negative quantity", '"qty": {"contracts": -3}', "negative:qty.contracts"),
    of("a negative notional", '"notional": -3', "negative:notional"),
    of("a negative fee is a rebate", '"fees_usd": -0.01', None, fees_usd=-0.01),
    of("a negative slippage", '"slippage_bps": -2.5', None, slippage_logged_bps=-2.5),
    of("a fraction where one counts", '"retries": 3.7', None, retries=3.7),
    of(
        "two faulty fields",
        '"qty": {"contracts": "x"}, "prices": {"mark": -1}',
        "negative:prices.mark",
    ),
    # parents and flags
    of("a parent that is a number", '"prices": 5', "not_an_object:prices"),
    of("a parent that is a text", '"prices": "5"', "not_an_object:prices"),
    of("a parent that is an array", '"prices": [{"mark": 5}]', "not_an_object:prices"),
    of("a parent that is true", '"qty": true', "not_an_object:qty"),
    of("a parent that is null", '"prices": null', None, mark_px=None),
    of("a parent that is empty", '"prices": {}', None, mark_px=None, extra_json=None),
    of("a flag as text", '"is_maker": "True"', None, is_maker=True, nulled_n=0),
    of("a flag as number", '"is_maker": 0', None, is_maker=False, nulled_n=0),
    of("a flag that is none", '"is_maker": "maybe"', None, is_maker=None, nulled_n=1),
    # keys
    of("a key twice", '"side": "BUY", "side": "SELL"', None, side="BUY"),
    of("a parent twice", '"prices": {"mark": 1}, "prices": {"mark": 2}', None, mark_px=1.0),
    of("the time twice", '"ts": 1', None, event_ms=MS),
    of("a trailing comma", '"side": "BUY",', None, side="BUY"),
    of(
        "an id that is a number",
        '"attempt_id": 8389765988001940435',
        None,
        attempt_id="8389765988001940435",
    ),
    of("an unknown field", '"new": 1', None, extra_json='{"new":1}'),
    of("an unknown field that is null", '"new": null', None, extra_json='{"new":null}'),
    of("an unknown empty object", '"new": {}', None, extra_json='{"new":{}}'),
    of(
        "an unknown field within a known one",
        '"prices": {"mark": 1, "oracle": 2}, "z": [1, {"y": null}]',
        None,
        mark_px=1.0,
        extra_json='{"z":[1,{"y":null}],"prices":{"oracle":2}}',
    ),
    of("an unknown NaN", '"new": NaN, "side": "BUY"', None, side="BUY"),
    of(
        "a key with a point", '"prices.mark": 9', None, mark_px=None, extra_json='{"prices.mark":9}'
    ),
    of("an escaped key", '"\\u0073ide": "BUY"', None, side="BUY"),
    of("an escaped NUL", '"reason": "a\\u0000b"', None, reason="a\0b"),
    of("half a surrogate pair", '"reason": "\\ud800"', "not_json"),
    of("deep nesting", f'"new": {DEEP}', None, extra_json=f'{{"new":{DEEP}}}'),
    of("deep nesting in a known field", f'"policy": {DEEP}', None, policy_json=DEEP),
    of("deep nesting in a price", f'"prices": {{"mark": {DEEP}}}', MARK),
    of("100,001 values in a large line", f'"new": [{"0.000000000, " * 100_000}0]', "too_complex"),
    of("a large text", f'"reason": "{"x" * 2_000_000}"', None, reason="x" * 2_000_000),
    of("a line of 11 MB", f'"reason": "{"x" * 11_000_000}"', "line_too_long"),
    # the first key with a value wins, and 0 is a value
    *(
        of(f"PnL as {key}", f'"{key}": 1.5', None, realized_pnl_usd=1.5)
        for key in ("realized_pnl", "realized_pnl_usd", "realizedPnlUsd", "pnl_usd", "pnl")
    ),
    *(
        of(f"notional as {key}", f'"{key}": 7', None, notional_usd=7.0)
        for key in ("notional", "notional_usd")
    ),
    *(
        of(f"fees as {key}", f'"{key}": 0.5', None, fees_usd=0.5)
        for key in ("fees_usd", "fee_total", "fees", "fee", "commission")
    ),
    *(
        of(f"slippage as {key}", f'"{key}": 2', None, slippage_logged_bps=2.0)
        for key in ("slippage_bps", "slippage")
    ),
    of("0 is a value", '"realized_pnl": 0, "pnl": 5', None, realized_pnl_usd=0.0),
    of("null is none", '"realized_pnl": null, "pnl": 5', None, realized_pnl_usd=5.0),
    of("older name of started_maker", '"maker_start": true', None, started_maker=True),
    of("a faulty second name", '"realized_pnl": 1, "pnl": "x"', "not_a_number:pnl"),
]
REJECTED = {
    "blank_line": 2,
    "future_time": 2,
    "line_too_long": 1,
    "missing_symbol": 4,
    "missing_time": 4,
    "negative:notional": 1,
    "negative:prices.mark": 2,
    "negative:qty.contracts": 1,
    "not_a_number:pnl": 1,
    "not_a_number:prices.mark": 8,
    "not_a_symbol": 3,
    "not_a_time:ack_ts": 1,
    "not_a_time:decision_ts": 1,
    "not_an_object": 7,
    "not_an_object:prices": 3,
    "not_an_object:qty": 1,
    "not_json": 20,
    "not_utf8": 3,
    "too_complex": 1,
    "unparseable_time": 16,
}


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, dict[str, list[Row]]]:
    """Read the corpus with a good line between any two cases.

    Returns three rows by name: the good line before, the case, the good line behind.
    """
    desk = Desk(tmp_path_factory.mktemp("corpus"))
    data = bytearray(line("before"))
    starts: dict[str, int] = {}
    for number, item in enumerate(CORPUS):
        assert item.name not in starts, item.name
        starts[item.name] = len(data)
        data += item.data + b"\n" + line(f"behind {number}")
    desk.write("order_metrics.jsonl", bytes(data))
    report = desk.run()
    assert report.tables[ROUTER].reasons == REJECTED
    rows = desk.rows()
    assert len(rows) == 2 * len(CORPUS) + 1
    place = {row["line_offset"]: number for number, row in enumerate(rows)}
    return desk, {name: rows[place[at] - 1 : place[at] + 2] for name, at in starts.items()}


def test_the_corpus_has_what_it_should(read: tuple[Desk, dict[str, list[Row]]]) -> None:
    assert len(CORPUS) >= 130
    assert sum(REJECTED.values()) == sum(item.reason is not None for item in CORPUS)
    for reason in REJECTED:
        assert reasons.mending(reason)


@pytest.mark.parametrize("item", CORPUS, ids=lambda item: item.name)
def test_line(item: Case, read: tuple[Desk, dict[str, list[Row]]]) -> None:
    before, row, behind = read[1][item.name]
    for good in (before, behind):
        assert good["reject_reason"] is None, "the good lines around it are kept"
        assert good["symbol"] == "BTCUSDT"
        assert good["side"] == "BUY"
        assert good["raw_line"] is None
    assert row["reject_reason"] == item.reason
    if item.reason is None:
        assert row["raw_line"] is None
    else:
        assert row["raw_line"] is not None
        assert len(row["raw_line"]) <= 65_536
    for name, value in item.row.items():
        assert row[name] == value, name
    if row["extra_json"] is not None and item.name != "deep nesting":
        assert json.loads(row["extra_json"])


def test_a_rejected_line_is_kept_as_it_was(read: tuple[Desk, dict[str, list[Row]]]) -> None:
    assert read[1]["two lines glued"][1]["raw_line"] == (GOOD + GOOD).decode()
    assert "\\xff\\xfe" in read[1]["bytes that are not UTF-8"][1]["raw_line"]
    long = read[1]["a line of 11 MB"][1]["raw_line"]
    assert long.startswith(f'{{"ts": {TS}, "symbol": "X", "reason": "xxx')
    assert "[11000050 bytes, md5 " in long


def test_a_rejected_line_says_what_it_can(read: tuple[Desk, dict[str, list[Row]]]) -> None:
    row = read[1]["a negative price"][1]
    assert (row["symbol"], row["event_ms"], row["part"]) == ("X", MS, "2025-11-05")
    assert read[1]["plain text"][1]["part"] == "unknown"


def test_orders_take_symbol_and_more_from_the_raw_answer(desk: Desk) -> None:
    desk.write(
        "orders_executed.jsonl",
        b'{"ts": 1762330296, "order_id": 1, "raw": {"symbol": "btcusdt", "avgPrice": "1.5"}}\n'
        b'{"ts": 1762330296, "orderId": 1, "raw": {"orderId": 2}}\n'
        b'{"ts": 1762330296, "symbol": "ETHUSDT", "raw": 5}\n'
        b'{"ts": 1, "ts_close": 1762330297, "symbol": "ETHUSDT"}\n',
    )
    report = desk.run()
    assert report.tables["raw_orders__events"].reasons == {
        "missing_symbol": 1,
        "not_an_object:raw": 1,
    }
    rows = desk.rows("raw_orders__events")
    assert [row["symbol"] for row in rows] == ["BTCUSDT", None, "ETHUSDT", "ETHUSDT"]
    assert (rows[0]["order_id"], rows[0]["fill_px"]) == ("1", 1.5)
    assert rows[3]["event_ms"] == 1_762_330_297_000


@pytest.mark.parametrize(
    ("zone", "event_ms"),
    [
        ("UTC", 1_762_330_296_000),
        ("Europe/Berlin", 1_762_326_696_000),
        ("America/New_York", 1_762_348_296_000),
    ],
)
def test_a_time_without_zone_is_of_the_configured_one(desk: Desk, zone: str, event_ms: int) -> None:
    desk.write(
        "order_metrics.jsonl",
        b'{"ts": "2025-11-05T08:11:36", "symbol": "A"}\n'
        b'{"ts": "2025-11-05T08:11:36Z", "symbol": "B"}\n',
    )
    desk.run(naive_zone=zone)
    assert [row["event_ms"] for row in desk.rows()] == [event_ms, 1_762_330_296_000]
    assert {row["part"] for row in desk.rows()} == {"2025-11-05"}


def test_a_line_of_50_mb_is_rejected_without_being_held(desk: Desk, tmp_path: Path) -> None:
    with (desk.logs / "order_metrics.jsonl").open("wb") as file:
        file.write(line("before"))
        for _ in range(50):
            file.write(b"x" * 1_000_000)
        file.write(b"\n" + line("behind"))
    report = desk.run()
    assert desk.counts(report) == (3, 2, 1, 0)
    assert report.tables[ROUTER].reasons == {"line_too_long": 1}
    assert "[50000001 bytes, md5 " in desk.rows()[1]["raw_line"]
    assert [row["attempt_id"] for row in desk.rows()] == ["before", None, "behind"]


def test_few_long_lines_are_read_within_the_least_memory(desk: Desk) -> None:
    texts = [random.Random(n).randbytes(24_000).hex() for n in range(150)]  # 7 MB
    desk.write(
        "order_metrics.jsonl",
        b"".join(line(f"sig_{n}", note=text) for n, text in enumerate(texts)),
    )
    report = desk.run(memory_limit_mb=256)
    assert desk.counts(report) == (150, 150, 0, 0)
    notes = [json.loads(row["extra_json"])["note"] for row in desk.rows()]
    assert notes == texts
