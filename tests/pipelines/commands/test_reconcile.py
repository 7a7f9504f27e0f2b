"""`execintel reconcile` without files: causes by size, accounts by name."""

import duckdb
import pytest

from tests.pipelines.commands.desk import Desk, attempt


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
    return shared_desk


def test_causes_stand_by_size_with_what_mends_them(published: Desk) -> None:
    _, _, text = published.run("reconcile").stdout.partition("By likely cause")
    _, _, *rows = text.partition("\n\n")[0].splitlines()
    assert [" ".join(row.split()) for row in rows] == [
        "default unknown order orders whose end nobody logged 1 400.00 –"
        " let the executor log how every order ended",
        "default restart what happened while the executor restarted 2 350.00 –"
        " let it log what the venue did meanwhile when it starts",
        "default close line missing the PnL of closes that are logged 1 – 7.00"
        " let the executor log the realised PnL of every close",
    ]


def test_an_unknown_account_names_those_there_are(published: Desk) -> None:
    result = published.run("reconcile", "--account", "mine")
    assert result.exit_code == 1
    assert "holds no line of account mine; there are: default" in result.stderr
