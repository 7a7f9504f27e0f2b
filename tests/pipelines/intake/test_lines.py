"""The splitter gives the lines of a naive split, wherever blocks, chunks and restarts fall."""

import gzip
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.intake import lines

LIMIT = 40  # of a line, in these tests
LARGE = 20
EXCERPT = 8
BOM = b"\xef\xbb\xbf"

pieces = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [
            b"\n",
            b"\r\n",
            b"\r",
            b"\n\n",
            BOM,
            b"\0",
            b"\xff",
            "é€𝄞".encode(),
            b"{}\n",
            b'{"a":[1,2]}\n',
        ]
    ),
    st.integers(0, 60).map(lambda n: b"x" * n),
    st.integers(LIMIT - 3, LIMIT + 3).map(lambda n: b"y" * n + b"\n"),
)
contents = st.lists(pieces, max_size=25).map(b"".join)
sizes = st.integers(1, 70)


@contextmanager
def small(block: int, chunk_bytes: int, chunk_lines: int, read: int = 7) -> Iterator[None]:
    """Make every bound of the splitter small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "READ_BYTES", read)
        patch.setattr(lines, "HEAD_BYTES", 3)
        patch.setattr(lines, "BLOCK_BYTES", block)
        patch.setattr(lines, "CHUNK_BYTES", chunk_bytes)
        patch.setattr(lines, "CHUNK_LINES", chunk_lines)
        patch.setattr(lines, "LINE_LIMIT_BYTES", LIMIT)
        patch.setattr(lines, "LARGE_LINE_BYTES", LARGE)
        patch.setattr(lines, "LARGE_LINE_VALUES", 1)
        patch.setattr(lines, "EXCERPT_BYTES", EXCERPT)
        patch.setattr(lines, "TAIL_BYTES", 5)
        yield


def naive(data: bytes, start: int) -> list[tuple[int, str, str | None]]:
    """Split by hand: (offset, text, error) of every whole line behind ``start``."""
    found = []
    while (end := data.find(b"\n", start) + 1) > 0:
        raw = data[start:end]
        error = None
        if len(raw) > LIMIT:
            head = raw[:EXCERPT].decode("utf-8", "replace").replace("\n", " ")
            digest = hashlib.md5(raw, usedforsecurity=False).hexdigest()
            text, error = f"{head}… [{len(raw)} bytes, md5 {digest}]", "line_too_long"
        else:
            raw = raw[:-2] + b"\n" if raw.endswith(b"\r\n") else raw
            try:
                text = raw.decode("utf-8")
                if len(raw) > LARGE and sum(raw.count(mark) for mark in (b",", b"[", b"{")) > 1:
                    error = "too_complex"
            except UnicodeDecodeError:
                text, error = raw.decode("utf-8", "backslashreplace"), "not_utf8"
        found.append((start, text, error))
        start = end
    return found


def split(path: Path, offset: int) -> list[tuple[int, str, str | None]]:
    """Split a file with the reader, holding what each chunk promises."""
    found = []
    whole = path.read_bytes() if path.suffix != ".gz" else gzip.decompress(path.read_bytes())
    with lines.LogReader(path) as reader:
        for chunk in reader.chunks(offset):
            assert chunk.start == offset
            assert chunk.lines == sum(batch.num_rows for batch in chunk.batches) > 0
            assert chunk.tail == whole[: chunk.end][-5:]
            assert whole[chunk.end - 1 : chunk.end] == b"\n"
            for batch in chunk.batches:
                batch.validate(full=True)
                columns = [batch.column(name).to_pylist() for name in lines.LINE_SCHEMA.names]
                found += list(zip(*columns, strict=True))
            offset = chunk.end
    return found


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    data=contents,
    block=sizes,
    chunk_bytes=sizes,
    chunk_lines=st.integers(1, 9),
    packed=st.booleans(),
)
def test_lines_are_those_of_a_naive_split(
    tmp_path: Path, data: bytes, block: int, chunk_bytes: int, chunk_lines: int, packed: bool
) -> None:
    path = tmp_path / ("x.jsonl.gz" if packed else "x.jsonl")
    path.write_bytes(gzip.compress(data) if packed else data)
    start = len(BOM) if data.startswith(BOM) else 0
    with small(block, chunk_bytes, chunk_lines):
        with lines.LogReader(path) as reader:
            head = reader.head(has_header=False)
        expected = naive(data, start)
        if head is None:
            assert not expected
            return
        assert head.data_start == start
        assert split(path, start) == expected


@settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    data=contents,
    block=sizes,
    chunk_lines=st.integers(1, 5),
    stop=st.integers(0, 12),
    more=contents,
)
def test_reading_resumes_at_any_commit_of_a_growing_file(
    tmp_path: Path, data: bytes, block: int, chunk_lines: int, stop: int, more: bytes
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(data)
    offset, found = 0, []
    with small(block, 30, chunk_lines):
        with lines.LogReader(path) as reader:
            for number, chunk in enumerate(reader.chunks(0)):
                if number == stop:
                    break
                offset = chunk.end
                found += [at for batch in chunk.batches for at in batch.column(0).to_pylist()]
                committed = chunk.tail
        path.write_bytes(data + more)
        with lines.LogReader(path) as reader:
            assert not found or reader.before(offset) == committed
        found += [at for at, _, _ in split(path, offset)]
        assert found == [at for at, _, _ in naive(data + more, 0)]


@settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=contents.filter(lambda data: b"\n" in data), cut=st.integers(0, 400), block=sizes)
def test_a_cut_gzip_gives_a_beginning_of_the_lines_and_then_says_so(
    tmp_path: Path, data: bytes, cut: int, block: int
) -> None:
    path = tmp_path / "x.jsonl.gz"
    packed = gzip.compress(data)
    path.write_bytes(packed[: max(1, len(packed) - 1 - cut)])
    found: list[int] = []

    def read() -> None:
        with lines.LogReader(path) as reader:
            for chunk in reader.chunks(0):
                found.extend(at for batch in chunk.batches for at in batch.column(0).to_pylist())

    with small(block, 30, 2):
        with pytest.raises(lines.UnreadableFile, match=r"x\.jsonl\.gz: "):
            read()
        assert found == [at for at, _, _ in naive(data, 0)][: len(found)]


@pytest.mark.parametrize(
    ("data", "has_header", "expected"),
    [
        (b"", False, None),
        (b"half", False, None),
        (b"one\ntwo\n", False, (b"", b"one", 0, 0)),
        (BOM + b"one\r\n", False, (b"", b"one", 3, 3)),
        (b"\n", False, (b"", b"", 0, 0)),
        (b"head\n", True, None),
        (b"head\nhalf", True, None),
        (b"head\r\none\n", True, (b"head", b"one", 0, 6)),
        (BOM + b"head\none\n", True, (b"head", b"one", 3, 8)),
        (b"x" * 100, False, (b"", b"x" * LIMIT, 0, 0)),
        (b"x" * 100 + b"\n", False, (b"", b"x" * LIMIT, 0, 0)),
    ],
)
def test_head(
    tmp_path: Path, data: bytes, has_header: bool, expected: tuple[bytes, bytes, int, int] | None
) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with small(16, 30, 2), lines.LogReader(path) as reader:
        head = reader.head(has_header=has_header)
    assert head == (None if expected is None else lines.Head(*expected))


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
def test_before_knows_whether_the_file_reaches_an_offset(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"abcdefgh") if name.endswith("gz") else b"abcdefgh")
    with small(16, 30, 2), lines.LogReader(path) as reader:
        assert reader.before(0) == b""
        assert reader.before(3) == b"abc"
        assert reader.before(8) == b"defgh"
        assert reader.before(9) is None
        assert reader.before(100) is None


def test_a_rename_while_it_is_read_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"a\nb\nc\nd\n")
    found = []
    with small(2, 2, 1), lines.LogReader(path) as reader:
        for chunk in reader.chunks(0):
            path.rename(tmp_path / f"x.{chunk.end}.jsonl")
            path = tmp_path / f"x.{chunk.end}.jsonl"
            (tmp_path / "x.jsonl").write_bytes(b"1\n2\n3\n4\n5\n")
            found += [text for batch in chunk.batches for text in batch.column(1).to_pylist()]
    assert found == ["a\n", "b\n", "c\n", "d\n"]
