"""Lines of a usual shape are decoded on a shorter way: to exactly the same rows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.settings import SECRET_PATTERNS
from pipelines.intake import decode, lines, store
from pipelines.intake.kinds import KINDS, ORDERS, ROUTER, VETOES, Kind
from pipelines.intake.query import keys_of
from pipelines.intake.sources import Place
from tests.pipelines.intake.desk import NOW_MS, TS, Row

ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2.5,
        -0.0,
        1e15,
        1e300,
        12345678901234567890,
        "",
        " ",
        "x",
        "1.5",
    ),
    *("nan", "true", "2025-11-05", "token=abc", "a:b", 'é\n\t"\\', [], [1, "a"], {}, {"mark": 1}),
    *(float("nan"), float("inf"), {"token": "abc", "n": None}),
]
USUAL: dict[str, Any] = {
    "ts": TS,
    "symbol": "BTCUSDT",
    "side": "BUY",
    "attempt_id": "sig_1234567890",
}


def _nested(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object of dotted keys; a key under a value that is no object is dropped."""
    line: dict[str, Any] = {}
    for key, value in pairs:
        node: Any = line
        *parents, leaf = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {}) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node[leaf] = value
    return line


def shapes(kind: Kind) -> st.SearchStrategy[bytes]:
    """Draw a line of a kind: some keys of the kind, seldom an unknown key or an odd value."""
    keys = st.sampled_from(keys_of(kind))
    parents = st.sampled_from([key.split(".")[0] for key in keys_of(kind) if "." in key] or ["ts"])
    common = st.sampled_from([1, 2.5, 0, "FILLED", "7.5", None])
    pairs = st.lists(st.tuples(keys, common), max_size=6)
    oddities = st.lists(
        st.tuples(
            st.one_of(keys, parents, st.sampled_from(["new", "prices.new", "ts", "symbol"])),
            st.sampled_from(ODD),
        ),
        max_size=2,
    )
    objects = st.tuples(st.booleans(), pairs, oddities).map(
        lambda drawn: {**(USUAL if drawn[0] else {}), **_nested([*drawn[1], *drawn[2]])}
    )
    written = objects.map(lambda line: json.dumps(line).encode())
    broken = st.sampled_from([b"", b"x", b"[1]", b"{", b"null", b'{"ts":1,"ts":2}', b"\xff"])
    return st.one_of(written, written, written, broken)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with decode.connect(SECRET_PATTERNS) as opened:
        yield opened


def decoded(
    con: duckdb.DuckDBPyConnection, kind: Kind, data: bytes, folder: Path, sample_lines: int
) -> tuple[list[Row], store.Written]:
    """Decode the lines of ``data`` and return their rows in line order."""
    folder.mkdir()
    chunk = _chunk(folder, data)
    origin = decode.Origin(
        kind=kind,
        place=Place("main", "paper", None),
        named={},
        header=(),
        source_id="s",
        source_name="x.jsonl",
        ingest_seq=1,
        ingested_ms=NOW_MS,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "SAMPLE_LINES", sample_lines)
        patch.setattr(decode, "FEW_LINES", 0)
        rows = decode.decode(con, origin, chunk)
    written = store.write(rows, folder / "out", chunk.lines)
    found: list[Row] = (
        con.sql(
            "SELECT * FROM read_parquet($p, hive_partitioning = true,"
            " hive_types = {'part': VARCHAR}) ORDER BY line_offset",
            params={"p": [file.path for file in written.files]},
        )
        .to_arrow_table()
        .to_pylist()
    )
    return found, written


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(
    data=st.data(),
    kind=st.sampled_from([ROUTER, ORDERS, VETOES]),
    sample=st.sampled_from([1, 3, 2048]),
)
def test_both_ways_give_the_same_rows(
    con: duckdb.DuckDBPyConnection,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    kind: Kind,
    sample: int,
) -> None:
    drawn = data.draw(st.lists(shapes(kind), min_size=1, max_size=40))
    log = b"".join(line + b"\n" for line in drawn)
    folder = tmp_path_factory.mktemp("shapes")
    full, counted = decoded(con, kind, log, folder / "full", 0)
    short, counted_short = decoded(con, kind, log, folder / "short", sample)
    assert short == full
    assert (counted.rows, counted.content, counted.reasons) == (
        counted_short.rows,
        counted_short.content,
        counted_short.reasons,
    )
    assert [row["line_offset"] for row in full] == [
        sum(len(line) + 1 for line in drawn[:number]) for number in range(len(drawn))
    ]


def test_usual_lines_do_take_the_short_way(tmp_path: Path) -> None:
    usual = json.dumps({**USUAL, "prices": {"mark": 1.5}, "fees_usd": None}).encode() + b"\n"
    chunk = _chunk(tmp_path, usual * 50)
    with decode.connect(SECRET_PATTERNS) as con:
        present, test = decode._usual_shapes(con, ROUTER, pa.Table.from_batches(chunk.batches))
        assert present == {"ts", "symbol", "side", "attempt_id", "prices.mark", "fees_usd"}
        con.register("lines_all", pa.Table.from_batches(chunk.batches))
        assert con.execute(f"SELECT count(*) FILTER ({test}) FROM lines_all").fetchall() == [(50,)]


@pytest.mark.parametrize(
    "unusual",
    [
        '{"ts": 1, "new": 1}',
        '{"ts": 1, "prices": {"new": 1}}',
        '{"ts": 1, "prices": {}}',
        '{"ts": 1, "prices": null}',
        '{"ts": 1, "prices": 5}',
        '{"ts": 1, "prices": [{"mark": 1}]}',
        '{"prices.mark": 1}',
        "[1]",
        "x",
        "{}",
    ],
)
def test_other_lines_take_the_full_way(tmp_path: Path, unusual: str) -> None:
    chunk = _chunk(tmp_path, unusual.encode() + b"\n")
    with decode.connect(SECRET_PATTERNS) as con:
        table = pa.Table.from_batches(chunk.batches)
        assert decode._usual_shapes(con, ROUTER, table) == (frozenset(), None)


def test_every_batch_stays_within_what_a_thread_may_hold(tmp_path: Path) -> None:
    short = _chunk(tmp_path, b"{}\n" * 20_000)
    batches = decode._in_bites(pa.Table.from_batches(short.batches)).to_batches()
    assert max(batch.num_rows for batch in batches) <= decode.SCAN_LINES
    long = _chunk(tmp_path, (b"x" * 600_000 + b"\n") * 9)
    batches = decode._in_bites(pa.Table.from_batches(long.batches)).to_batches()
    assert [batch.num_rows for batch in batches] == [1] * 9


def test_statistics_name_what_the_files_hold(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    log = b"".join(
        json.dumps({"ts": TS + 40_000 * n, "symbol": f"S{n % 3}"}).encode() + b"\n"
        for n in range(10)
    )
    rows, written = decoded(con, ROUTER, log, tmp_path / "w", 2048)
    assert sum(file.rows for file in written.files) == len(rows) == 10
    for file in written.files:
        mine = [row for row in rows if row["part"] == file.partition["part"]]
        for name in ("event_ms", "ingest_seq", "ingested_ms", "line_offset", "symbol", "source_id"):
            values = [row[name] for row in mine]
            assert (file.minimum[name], file.maximum[name]) == (min(values), max(values)), name
        assert Path(file.path).stat().st_size == file.bytes


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.table}-{kind.format}")
def test_rows_have_the_schema_of_their_table(
    con: duckdb.DuckDBPyConnection, kind: Kind, tmp_path: Path
) -> None:
    names = decode.raw_schema(kind).names
    assert len(names) == len(set(names))
    if kind.format == "csv":
        return
    _, written = decoded(con, kind, b'{"ts": 1762330296, "symbol": "A"}\n', tmp_path / "w", 2048)
    schema = pq.read_schema(written.files[0].path)
    assert schema.names == [name for name in names if name != decode.PART_COLUMN]
    for field in schema:
        assert field.type == decode.raw_schema(kind).field(field.name).type, field.name


def _chunk(folder: Path, data: bytes) -> lines.Chunk:
    path = folder / "x.jsonl"
    path.write_bytes(data)
    with lines.LogReader(path) as reader:
        (chunk,) = reader.chunks(0)
    return chunk
