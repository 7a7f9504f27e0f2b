"""No secret is stored, wherever in a line it stands."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from features.settings import SECRET_PATTERNS
from pipelines.intake import decode
from tests.pipelines.intake.desk import TS, Desk, Row

SECRET = "hUnTeR2xyz"
LEAKS: dict[str, dict[str, Any]] = {
    "a URL in a reason": {"reason": f"GET /api/v3/order?symbol=BTC&signature={SECRET}&ts=1 failed"},
    "a key in a reason": {"reason": f"apiKey={SECRET}"},
    "a header in a reason": {"reason": f"Authorization: Bearer {SECRET}"},
    "JSON in a reason": {"reason": json.dumps({"token": SECRET})},
    "JSON in JSON in a reason": {"reason": json.dumps(json.dumps({"password": SECRET}))},
    "an unknown field": {"api_secret": SECRET},
    "an unknown field within another": {"request": {"headers": {"X-MBX-APIKEY": SECRET}}},
    "an unknown field that is a list": {"token": [SECRET, SECRET]},
    "an unknown field that is an object": {"token": {"value": SECRET}},
    "a known JSON field": {"policy": {"quality": "ok", "token": SECRET}},
    "a strategy": {"strategy": f"s?api_key={SECRET}"},
    "a client id": {"attempt_id": f"token={SECRET}"},
    "a venue": {"venue": f"https://x.example/?signature={SECRET}"},
    "an account": {"account": f"password: {SECRET}"},
    "a symbol": {"symbol": f"BTC secret={SECRET}"},
    "a status": {"result": {"status": f"passphrase: '{SECRET}'"}},
    "upper case": {"reason": f"SIGNATURE={SECRET} API-KEY: {SECRET}"},
    "a user in a URL": {"reason": f"wss://me:{SECRET}@stream.example/ws"},
    "a listen key": {"reason": f"listenKey={SECRET}"},
    "a private key": {"private_key": SECRET},
    "a secret key": {"secretKey": SECRET},
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Row]:
    """Read every leak in a line that is taken and in one that is not; returns their rows.

    So few lines are decoded each by itself: one log tells what a log for each would.
    """
    names = [(ending, name) for ending in ("", "glued") for name in LEAKS]
    lines = [
        json.dumps({"ts": TS, "symbol": "BTC", "side": "BUY", **LEAKS[name]}) + ending
        for ending, name in names
    ]
    desk = Desk(tmp_path_factory.mktemp("secrets"))
    desk.write("order_metrics.jsonl", "".join(f"{text}\n" for text in lines).encode())
    desk.run()
    rows = sorted(desk.rows(), key=lambda row: row["line_offset"])
    return dict(zip(names, rows, strict=True))


@pytest.mark.parametrize("name", LEAKS)
@pytest.mark.parametrize("ending", ["", "glued"], ids=["accepted", "rejected"])
def test_a_secret_is_redacted(stored: dict[tuple[str, str], Row], name: str, ending: str) -> None:
    row = stored[ending, name]
    assert (row["reject_reason"] is None) == (ending == "")
    text = json.dumps(row, ensure_ascii=False, default=str)
    assert SECRET.lower() not in text.lower()
    assert "[redacted]" in text or "[REDACTED]" in text
    if ending == "":
        assert (row["side"], row["size_json"]) == ("BUY", None), "what is no secret stays"
        for column in ("extra_json", "policy_json"):
            assert row[column] is None or json.loads(row[column])


def test_a_secret_leaves_no_trace_in_the_lake(desk: Desk) -> None:
    lines = [json.dumps({"ts": TS, "symbol": "BTC", **leak}) for leak in LEAKS.values()]
    lines += [text + "glued" for text in lines]
    desk.write("order_metrics.jsonl", "".join(f"{text}\n" for text in lines).encode())
    desk.write("AUSDT_1m.csv", f"date,open,note\n2025-11-05,1,signature={SECRET}\n".encode())
    desk.write(
        "BUSDT_1m.csv", f'date,open,n\n2025-11-05,1,"{{""token"": ""{SECRET}""}}"\n'.encode()
    )
    desk.run()
    assert len(desk.rows()) == len(lines)
    with duckdb.connect() as con:
        for file in desk.lake.root.rglob("*.parquet"):
            found = con.sql("SELECT * FROM read_parquet($f)", params={"f": str(file)}).fetchall()
            assert SECRET.lower() not in repr(found).lower()
    for file in (desk.root / "home").rglob("*"):
        if file.is_file() and file.suffix != ".parquet":
            assert SECRET.encode().lower() not in file.read_bytes().lower()


def test_lines_without_secrets_stay_as_they_are(desk: Desk) -> None:
    reason = "429 for BTC/USDT: too many requests, retry in 3 s (weight=1200)"
    extra = {"note": "tokens: none", "url": "https://api.example:443/v1?symbol=BTC"}
    line = {"ts": TS, "symbol": "BTC", "reason": reason, **extra}
    desk.write("order_metrics.jsonl", json.dumps(line).encode() + b"\n")
    desk.run()
    row = desk.rows()[0]
    assert row["reason"] == reason
    assert json.loads(row["extra_json"])["url"] == extra["url"]


def test_patterns_of_ones_own_replace_the_default(desk: Desk) -> None:
    lines = [
        {"ts": TS, "symbol": "BTC", "strategy": "desk-77001", "reason": "signature=abc"},
        {"ts": TS, "symbol": "BTC", "strategy": "plain", "account": "desk-77001"},
    ]
    desk.write("order_metrics.jsonl", "".join(f"{json.dumps(v)}\n" for v in lines).encode())
    desk.run(secret_patterns=(r"^(desk-)\d+",))
    found = [(row["strategy"], row["reason"], row["account"]) for row in desk.rows()]
    assert found == [
        ("desk-[redacted]", "signature=abc", "default"),
        ("plain", None, "desk-[redacted]"),
    ]


def test_no_patterns_redact_nothing(desk: Desk) -> None:
    desk.write("order_metrics.jsonl", b'{"ts": 1762330296, "symbol": "A", "reason": "token=x"}\n')
    desk.run(secret_patterns=())
    assert desk.rows()[0]["reason"] == "token=x"


def test_a_pattern_that_the_engine_does_not_know_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"secret pattern '\(a\)\(\?=b\)'.*look-around"):
        decode.connect(["(a)(?=b)"])


@pytest.mark.parametrize("text", ["", "x", "token=abc", "a: b", "Bearer\tabc", "no secret here"])
def test_the_quick_look_never_misses_a_secret(text: str) -> None:
    with decode.connect(SECRET_PATTERNS) as con:
        quick, redacted = con.execute(
            "SELECT may_hold_secret($t), redact($t)", {"t": text}
        ).fetchall()[0]
    assert quick or redacted == text
