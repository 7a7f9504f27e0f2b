"""`execintel reconcile` without files: causes by size, accounts by name."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from features.snapshot import Store
from pipelines.commands.unknowable import Account, reasons
from tests.pipelines.commands.desk import START_S, Desk, attempt


@pytest.fixture(scope="module")
def published(shared_desk: Desk) -> Desk:
    """Publish a fill, and position changes whose causes are planted."""
    shared_desk.write(attempt(1))
    assert shared_desk.refresh().exit_code == 0
    database = shared_desk.home / "snapshots" / shared_desk.current / "features.duckdb"
    database.chmod(0o644)
    changes = [
        ("restart", 100.0, None),
        ("close_line_missing", None, 7.0),  # explained: it has no unexplained USD
        ("unknown_order", 400.0, None),
        ("restart", 250.0, None),
    ]
    with duckdb.connect(str(database)) as con:
        for n, (cause, usd, pnl) in enumerate(changes):
            con.execute(
                "INSERT INTO core_position__reconciliation BY NAME SELECT 'default' AS account,"
                " 'paper' AS environment, 'BTCUSDT' AS symbol, 'LONG' AS position_side,"
                " $n::BIGINT AS from_ms, $n::BIGINT + 1 AS to_ms, $cause AS cause,"
                " $usd::DOUBLE AS unexplained_usd, $pnl::DOUBLE AS pnl_missing_usd",
                {"n": 60_000 * n, "cause": cause, "usd": usd, "pnl": pnl},
            )
        con.execute(  # one day with everything known, one on which no close and no fill is logged
            "INSERT INTO feat_account__coverage BY NAME SELECT 'default' AS account, * FROM (VALUES"
            " ('2025-11-03', 10.0, 2, 7.0, 3, 1.0, 0.5, 2.0, 5.5, 4.0, 1.5),"
            " ('2025-11-04', 8.0, 0, 0.0, 0, 0.0, NULL, 0.0, 8.0, NULL, NULL)) v(day,"
            " nav_change_usd, close_n, realized_pnl_usd, trade_n, fees_usd, funding_usd,"
            " outside_usd, unlogged_usd, unrealized_change_usd, unexplained_usd)"
        )
    return shared_desk


def test_causes_stand_by_size_with_what_mends_them(published: Desk) -> None:
    _, _, text = published.run("reconcile").stdout.partition("By likely cause")
    _, _, *rows = text.partition("\n\n")[0].splitlines()
    assert [" ".join(row.split()) for row in rows] == [
        "default unknown order orders whose end nobody logged 1 1 400.00 –"
        " let the executor log how every order ended",
        "default restart what happened while the executor restarted 2 2 350.00 –"
        " let it log what the venue did meanwhile when it starts",
        "default close line missing the PnL of closes that are logged 1 0 – 7.00"
        " let the executor log the realised PnL of every close",
    ]


def days(output: str) -> dict[str, list[str]]:
    """Return the amounts of each day, from NAV change to unexplained."""
    table = output.partition("What the logs explain")[2].partition("NAV change =")[0]
    rows = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()[2:]]
    return {cells[1]: cells[3:11] for cells in rows if len(cells) > 11}


def test_a_days_amounts_add_up_to_its_nav_change(published: Desk) -> None:
    output = published.run("reconcile").stdout
    cells = days(output)["2025-11-03"]
    nav, _, pnl, fees, funding, outside, unlogged, unrealised = map(float, cells)
    assert nav == pnl - fees + funding - outside + unlogged == 10.0
    assert (unlogged, unrealised) == (5.5, 4.0)
    assert "NAV change = PnL - fees + funding - outside + unlogged;" in output


def test_a_day_without_a_logged_close_shows_no_pnl_of_0(published: Desk) -> None:
    cells = days(published.run("reconcile").stdout)["2025-11-04"]
    assert cells == ["8.00", "0", "–", "–", "–", "0.00", "8.00", "–"]


def test_an_unknown_account_names_those_there_are(published: Desk) -> None:
    result = published.run("reconcile", "--account", "mine")
    assert result.exit_code == 1
    assert "holds no line of account mine; there are: default" in result.stderr


def test_an_account_without_positions_is_told_why_it_is_unknowable(desk: Desk) -> None:
    """Two NAVs under exposure, and nothing that tells what was held at which entry price."""
    desk.write(attempt(1), attempt(2))
    for n, usd in ((0, 1000.0), (3, 1010.0)):
        seen = {
            "attempt_id": f"nav_{n}",
            "symbol": "BTCUSDT",
            "ts": START_S + 60 * n,
            "nav_snapshot": {"nav_usd": usd, "gross_usd": 100.0},
        }
        desk.write(json.dumps(seen) + "\n", name="orders_attempted.jsonl")
    refreshed = desk.refresh()
    assert refreshed.exit_code == 0, refreshed.output
    assert "execintel reconcile says what is missing, or why that" in refreshed.output
    output = desk.run("reconcile").stdout
    _, _, why = output.partition("Why account default is unknowable over the window:\n")
    assert why.splitlines()[:2] == [
        "- Unrealised PnL at its first and its last NAV is not known, as positions are not logged: "
        "let the executor write position_state.jsonl, with entry prices",
        "- 2 orders and no change of position stand in the logs: let the executor write "
        "position_state.jsonl",
    ]
    assert "Position changes that fills do not explain" not in output  # there is none to list
    assert "No change of position was seen that fills do not explain" in output


KNOWN = Account("a", 2, 0, 9.0, 0.0, 0.0, 1.0, 2, 1, 1.0, None, has_states=True, has_gross=True)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"nav_n": 0, "nav_change_usd": None}, ["No NAV is logged"]),
        (
            {"nav_n": 0, "nav_rejected_n": 2, "nav_change_usd": None},
            ["All NAV values were refused"],
        ),
        # two NAV values of one moment: there is no change
        ({"nav_change_usd": None}, ["All NAV values are of one moment"]),
        # states are logged, and say nothing of what was held at the last NAV
        (
            {"unrealized_last_usd": None, "pnl_explained_lo": 0.5},
            ["Unrealised PnL at its last NAV is not known: position_state.jsonl names no entry"],
        ),
        # what was held at a NAV stands beside it, as exposure by symbol
        (
            {"unrealized_first_usd": None, "pnl_explained_lo": 0.5, "has_gross": False},
            ["Unrealised PnL at its first NAV is not known: no NAV says what was held at it. Let"],
        ),
        # not known, and enough at its least: it is something else that is not known
        (
            {"unrealized_last_usd": None, "pnl_explained_lo": 0.96},
            ["Its NAV values span too little"],
        ),
        ({"position_explained_ratio": None}, ["A change of its positions has no price"]),
        (
            {"position_explained_ratio": None, "change_n": 0},
            ["2 orders and no change of position stand in the logs"],
        ),
        # nothing was traded and nothing moved: nothing to see
        (
            {"position_explained_ratio": None, "change_n": 0, "order_n": 0},
            ["Its NAV values span too little"],
        ),
    ],
)
def test_each_cause_of_unknowable_has_its_words(values: dict[str, Any], said: list[str]) -> None:
    told = reasons(replace(KNOWN, **values), 0.95)
    assert [words.startswith(start) for words, start in zip(told, said, strict=True)] == [True]


@pytest.mark.parametrize("hours", ["99", "-12.5", "nan"])
def test_an_offset_that_no_zone_has_is_refused(published: Desk, hours: str) -> None:
    result = published.run("reconcile", "--utc-offset", hours)
    assert result.exit_code == 1
    assert f"--utc-offset {float(hours):g}: no zone is that far from UTC" in result.stderr


@pytest.mark.parametrize("hours", ["-12", "14", "5.75"])
def test_an_offset_of_a_zone_is_taken(published: Desk, hours: str) -> None:
    assert published.run("reconcile", "--utc-offset", hours).exit_code == 0


def test_it_says_which_snapshot_it_asked_and_a_hold_as_show_does(published: Desk) -> None:
    shown = published.run("show").stdout.partition("\n\n")[0]
    assert f"snapshot     {published.current}" in shown
    assert published.run("reconcile").stdout.startswith(f"{shown}\n\n")
    Store(published.home / "snapshots").set_hold(now_ms=1000, by="ann", reason="fees are wrong")
    try:
        output = published.run("reconcile").stdout
    finally:
        published.run("snapshots", "resume")
    assert output.startswith("HOLD: nothing is published since 1970-01-01 00:00:01 UTC, by ann:")


def test_what_programs_read_of_an_export_has_no_head(published: Desk, tmp_path: Path) -> None:
    path = tmp_path / "income.csv"
    path.write_text(
        "Time,Type,Amount,Asset,Symbol,Transaction ID\n"
        "2025-11-05 10:54:20,COMMISSION,-9.5,USDT,BTCUSDT,1\n"
    )
    words = ("reconcile", "--income", str(path))
    table = published.run(*words)
    assert table.exit_code == 1
    assert table.stdout.startswith(f"snapshot     {published.current}\nas of        2025-11-06 ")
    told = published.run(*words, "--format", "csv").stdout
    assert told.startswith("what,kind,symbol,UTC,venue,logs,order,where\n")
    assert json.loads(published.run(*words, "--format", "json").stdout)[0]["kind"] == "fee"
