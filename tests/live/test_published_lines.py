"""The reader adopts what a refresh publishes: every value of every line is that of the tables.

Put here: live.jsonl from end to end, and its description. Keep out: files of literal values.
"""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from features import live_lines
from features.settings import Settings
from features.snapshot import Store, open_snapshot
from live.reader import SnapshotReader
from live.snapshot import records
from live.snapshot.records import ALL, Record
from pipelines.refresh import refresh
from tests.loads import DAY_MS, START_MS, append, router_line, tangled_lines

AS_OF_MS = START_MS + 6 * DAY_MS
Published = tuple[Settings, Store, str]


def published(root: Path, **more: object) -> Published:
    """Publish two snapshots five minutes apart, so that the second remembers the first."""
    values = {"home": root / "home", "log_dir": root / "logs", **more}
    settings = Settings.model_validate(values)
    for as_of_ms in (AS_OF_MS - 300_000, AS_OF_MS):
        report = refresh(settings, as_of_ms=as_of_ms, now_ms=AS_OF_MS)
        assert report.outcome == "published", report.built.failed
    store = Store(settings.snapshots_root)
    return settings, store, store.resolve(None)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Published:
    root = tmp_path_factory.mktemp("lines")
    append(root / "logs", tangled_lines(21, attempts=120, days=6))
    append(root / "logs", [router_line("one", "RAREUSDT", AS_OF_MS - DAY_MS)])
    return published(root)


@pytest.fixture(scope="module")
def real(router_logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Published:
    root = tmp_path_factory.mktemp("real")
    return published(root, log_dir=router_logs, environment="testnet")


def read_all(found: Published) -> dict[str, Any]:
    """Read every symbol as an engine does, at the moment of publication."""
    settings, store, snapshot_id = found
    reader = SnapshotReader(
        store.root, environment=settings.environment, clock=lambda: AS_OF_MS / 1000
    )
    assert (reader.problem, reader.health().snapshot_id) == (None, snapshot_id)
    return {symbol: reader.read(symbol) for symbol in (ALL, *reader.symbols)}


def rows_of(found: Published) -> dict[str, dict[Any, dict[str, Any]]]:
    """Return the feature tables by symbol, or by symbol and what else their grain holds."""
    _, store, snapshot_id = found
    tables: dict[str, dict[Any, dict[str, Any]]] = {}
    with open_snapshot(store.database(snapshot_id)) as con:
        for name, entry in store.manifest(snapshot_id)["tables"].items():
            relation = con.table(name)
            rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
            grain = entry["grain"]
            tables[name] = {
                row[grain[0]] if len(grain) == 1 else tuple(row[c] for c in grain): row
                for row in rows
            }
    return tables


def differences(part: msgspec.Struct, row: dict[str, Any], **renamed: str) -> list[str]:
    """Name the fields of a part whose value is not the row's; bit for bit, lists as text."""
    wrong = []
    for name in part.__struct_fields__:
        value, expected = getattr(part, name), row[renamed.get(name, name)]
        if isinstance(value, tuple):
            value = ",".join(value)
        if value != expected:
            wrong.append(f"{name}: {value} is not {expected}")
    return wrong


@pytest.mark.parametrize("source", ["generated", "real"])
def test_every_value_that_an_engine_reads_is_that_of_the_tables(
    source: str, request: pytest.FixtureRequest
) -> None:
    found: Published = request.getfixturevalue(source)
    tables = rows_of(found)
    readings = read_all(found)
    assert set(readings) == {ALL, *tables["feat_symbol__sizing"]}
    assert len(readings) > 3
    for symbol, reading in readings.items():
        record = reading.record
        router = dict(tables["feat_router__effectiveness"][symbol])
        slip = tables["feat_execution__slippage_quartiles"].get((symbol, -1), {})
        router |= {f"slip_{q}": slip.get(f"slip_bps_{q}") for q in ("q25", "q50", "q75")}
        router["slip_n"] = slip.get("n", 0)
        wrong = differences(record.router, router)
        hours = {
            hour: row
            for (name, hour), row in tables["feat_execution__hourly_expectancy"].items()
            if name == symbol
        }
        assert set(record.hourly) == set(hours)
        for hour, row in hours.items():
            wrong += differences(record.hourly[hour], row, count="n")
        assert record.n == router["n"]
        assert record.status == ("ok" if record.n >= 20 else "insufficient")
        if symbol != ALL:
            scores = tables["feat_symbol__scores"]
            active = next(
                scores[symbol, m] for m in ("v5.10", "v5.11") if scores[symbol, m]["is_active"]
            )
            wrong += differences(record.score, active)
            wrong += differences(record.size, tables["feat_symbol__sizing"][symbol])
            wrong += differences(record.regime, tables["feat_symbol__atr_regime"][symbol])
            wrong += differences(
                record.policy, tables["feat_router__policies"][symbol], regime="acting_regime"
            )
            wrong += differences(record.risk, tables["feat_symbol__performance"][symbol])
            offsets = tables["feat_router__maker_offsets"]
            assert list(record.offsets_bps) == [offsets[symbol, h]["offset_bps"] for h in range(24)]
        assert wrong == []
    assert {reading.status for reading in readings.values()} <= {"ok", "insufficient"}
    assert readings[ALL].status == "ok"


def test_few_attempts_are_insufficient_and_held_back(generated: Published) -> None:
    reading = read_all(generated)["RAREUSDT"]
    assert (reading.status, reading.record.n) == ("insufficient", 1)
    assert reading.acting.size_factor <= 1.0
    assert min(reading.acting.offsets_bps) >= 2.0


def test_an_engine_acts_on_the_tables_own_values(generated: Published) -> None:
    tables = rows_of(generated)
    reading = read_all(generated)["BTCUSDT"]
    size = tables["feat_symbol__sizing"]["BTCUSDT"]
    policy = tables["feat_router__policies"]["BTCUSDT"]
    assert reading.status == "ok"
    assert reading.acting.size_factor == size["final_size_factor"]
    assert reading.acting.quality == policy["quality"] != "unknown"
    assert reading.acting.taker_bias == policy["taker_bias"]
    assert reading.acting.maker_first == policy["maker_first"]


def test_the_manifest_names_the_files_digest(generated: Published) -> None:
    _, store, snapshot_id = generated
    data = (store.path(snapshot_id) / live_lines.FILE).read_bytes()
    manifest = store.manifest(snapshot_id)
    assert manifest["files"][live_lines.FILE] == hashlib.sha256(data).hexdigest()
    assert b"NaN" not in data
    assert b"Infinity" not in data
    (store.path(snapshot_id) / live_lines.FILE).write_bytes(data.replace(b"ok", b"OK"))
    try:
        assert "has other bytes" in store.verify(snapshot_id)[0]
    finally:
        (store.path(snapshot_id) / live_lines.FILE).write_bytes(data)


@pytest.mark.parametrize(
    ("value", "written"),
    [(math.nan, None), (math.inf, None), (-math.inf, None), (1.5, 1.5), (True, True), (3, 3)],
)
def test_what_is_no_finite_number_is_unknown(value: Any, written: Any) -> None:
    assert live_lines._plain(value) is written or live_lines._plain(value) == written


def test_minus_nought_is_nought() -> None:
    assert json.dumps(live_lines._plain(-0.0)) == "0.0"


# -------------------------------------------------------------------------------------- description


def described(repository: Path) -> dict[str, list[str]]:
    """Return {section: fields in order} of the page that describes the format."""
    text = (repository / "docs" / "live-jsonl.md").read_text("utf-8")
    sections = re.split(r"^### (\w+)\n", text.partition("## Fields")[2], flags=re.MULTILINE)[1:]
    names = sections[::2]
    tables = [
        re.findall(r"^\| (\w+) \|", body.partition("\n## ")[0], re.MULTILINE)[1:]
        for body in sections[1::2]
    ]
    return dict(zip(names, tables, strict=True))


def test_the_page_names_every_field_in_order(repository: Path) -> None:
    structs = (
        "Header", "Record", "Score", "Size", "Regime", "Router", "Policy", "Risk", "Hour",
    )  # fmt: skip
    fields = {name: list(getattr(records, name).__struct_fields__) for name in structs}
    assert described(repository) == fields


def test_the_pages_example_is_a_whole_line(repository: Path) -> None:
    text = (repository / "docs" / "live-jsonl.md").read_text("utf-8")
    example = text.partition("```json\n")[2].partition("```")[0]
    record = msgspec.json.decode(example, type=Record)
    assert record.size is not None
    assert record.size.final_size_factor == 0.25
    line = json.loads(example)
    for part, names in described(repository).items():
        if part not in ("Header", "Record", "Hour"):
            assert list(line[part.lower()]) == names
    assert list(line) == described(repository)["Record"]
    assert list(line["hourly"]["9"]) == described(repository)["Hour"]


def test_format_and_names_are_those_of_the_reader() -> None:
    assert (live_lines.FORMAT, live_lines.ALL, live_lines.HOURS) == (
        records.FORMAT,
        records.ALL,
        records.HOURS,
    )
