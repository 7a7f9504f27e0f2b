"""`execintel quarantine`, and that no reason for rejecting a line is without advice."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from features.reasons import MENDING, mending
from pipelines.intake import decode, lines, query
from pipelines.intake.kinds import KINDS, Kind
from tests.pipelines.commands.desk import Desk

Line = Callable[..., str]


def decoder_reasons(kind: Kind) -> set[str]:
    """Read every reason a kind's query can answer from the query itself."""
    text = query.query(kind, ("symbol",), None, decode.raw_schema(kind))
    judged = text[text.index("judged AS") : text.index("AS reject_reason,")]
    return set(re.findall(r"(?:THEN|ELSE) '([a-z_0-9]+)[:'A-Za-z_0-9.]*", judged))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.table}-{kind.format}")
def test_every_reason_of_the_decoder_has_advice(kind: Kind) -> None:
    reasons = decoder_reasons(kind)
    assert {"missing_time", "missing_symbol", "future_time"} <= reasons
    assert reasons <= MENDING.keys()


def test_every_reason_of_the_line_splitter_has_advice() -> None:
    source = Path(lines.__file__).read_text("utf-8")
    reasons = {name for name in ("line_too_long", "not_utf8") if f'"{name}"' in source}
    assert reasons == {"line_too_long", "not_utf8"}
    assert reasons <= MENDING.keys()


def test_advice_is_found_under_a_reason_that_names_a_field() -> None:
    assert mending("not_a_number:prices.mark") == MENDING["not_a_number"]
    with pytest.raises(KeyError, match="no_such_reason"):
        mending("no_such_reason")


def test_rejected_lines_are_counted_quoted_and_advised(desk: Desk, attempt: Line) -> None:
    desk.write(attempt(1), "no json\n", attempt(2, ts="soon"), '{"x": "\\u001b[31m"\x07}\n')
    desk.write('{"ts": 1762340000, "password": "hunter2"}\n', name="orders_executed.jsonl")
    desk.refresh()

    output = desk.run("quarantine").stdout

    assert "raw_router__events: 2 × not_json" in output
    assert "raw_router__events: 1 × unparseable_time" in output
    assert "raw_orders__events: 1 × missing_symbol" in output
    assert f"order_metrics.jsonl, offset {len(attempt(1))}: no json" in output
    assert f"mend: {MENDING['not_json']}" in output
    assert "\x07" not in output
    assert "hunter2" not in output


def test_source_and_limit_narrow_it(desk: Desk, attempt: Line) -> None:
    desk.write(attempt(1), *(f"bad {n}\n" for n in range(5)))
    desk.refresh()
    output = desk.run("quarantine", "--source", "raw_router__events", "--limit", "2").stdout
    assert "5 × not_json" in output
    assert output.count("order_metrics.jsonl, offset") == 2
    assert "no rejected line" in desk.run("quarantine", "--source", "raw_risk__vetoes").stdout
    wrong = desk.run("quarantine", "--source", "nope")
    assert wrong.exit_code == 1
    assert "raw_router__events" in wrong.stderr
