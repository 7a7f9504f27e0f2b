"""A venue's CSV exports: read as the venue writes them, matched with what logs tell."""

from pathlib import Path

import pytest

from pipelines.exports import reading
from pipelines.exports.matching import Comparison, LogItem, compare
from pipelines.exports.reading import Entry, ExportError

NAMES = reading.mapping("binance_futures")
T_MS = 1_762_329_600_000  # 2025-11-05T08:00:00Z

TRADES = (
    "Uid,Time,Symbol,Side,Price,Quantity,Amount,Fee,Realized Profit,Buyer,Maker,Trade ID,Order ID\n"
)
TRADE = "7,2025-11-05 08:00:00,btcusdt,SELL,100.5,0.2,20.1,{fee},1.5,false,true,11,22\n"


def write(path: Path, text: str, name: str = "export.csv") -> Path:
    (path / name).write_text(text, "utf-8")
    return path / name


@pytest.mark.parametrize("fee", ["0.0201USDT", "0.0201 USDT", "0.0201"])
def test_a_trade_is_its_quantity_fee_and_pnl(tmp_path: Path, fee: str) -> None:
    found = reading.read_trades(write(tmp_path, TRADES + TRADE.format(fee=fee)), NAMES)
    trade, paid, pnl = found.entries
    place = ("export.csv", 2, T_MS)
    assert trade == Entry(*place, "trade", "BTCUSDT", -0.2, 100.5, "22")
    asset = "USDT" if "USDT" in fee else ""
    assert paid == Entry(*place, "fee", "BTCUSDT", 0.0201, 100.5, "22", asset)
    assert pnl == Entry(*place, "realized_pnl", "BTCUSDT", 1.5, 100.5, "22")
    assert found.unreadable == ()


def test_where_the_income_tells_fees_and_pnl_trades_do_not(tmp_path: Path) -> None:
    path = write(tmp_path, TRADES + TRADE.format(fee="1"))
    (trade,) = reading.read_trades(path, NAMES, with_amounts=False).entries
    assert trade.kind == "trade"


@pytest.mark.parametrize(
    ("header", "time"),
    [
        ("Time,Type,Amount,Asset,Symbol,Transaction ID", "2025-11-05 08:00:00"),
        ("\ufeffDate(UTC),type,Amount,Asset,Symbol,Transaction ID", "25-11-05 08:00:00"),
    ],
)
def test_income_is_by_kind_and_paid_fees_are_positive(
    tmp_path: Path, header: str, time: str
) -> None:
    lines = [
        f"{time},REALIZED_PNL,1.25,USDT,BTCUSDT,1",
        f"{time},COMMISSION,-0.04,USDT,BTCUSDT,2",
        f"{time},FUNDING_FEE,-0.5,USDT,BTCUSDT,3",
        f'{time},TRANSFER,"1,000.5",USDT,,4',
    ]
    path = write(tmp_path, "\n".join([header, *lines]))
    found = reading.read_income(path, NAMES).entries
    assert [(x.kind, x.amount, x.symbol, x.at_ms) for x in found] == [
        ("realized_pnl", 1.25, "BTCUSDT", T_MS),
        ("fee", 0.04, "BTCUSDT", T_MS),
        ("funding", -0.5, "BTCUSDT", T_MS),
        ("TRANSFER", 1000.5, "", T_MS),  # the venue's own word: no log tells of it
    ]


def test_a_line_that_cannot_be_read_is_told_with_its_reason(tmp_path: Path) -> None:
    lines = [
        "yesterday,REALIZED_PNL,1,USDT,BTCUSDT,1",
        "2025-11-05 08:00:00,REALIZED_PNL,much,USDT,BTCUSDT,2",
        "2025-11-05 08:00:00,REALIZED_PNL,3,USDT,BTCUSDT,3",
    ]
    path = write(tmp_path, "\n".join(["Time,Type,Amount,Asset,Symbol,Transaction ID", *lines]))
    found = reading.read_income(path, NAMES)
    assert [x.line for x in found.entries] == [4]
    assert [line for _, line, _ in found.unreadable] == [2, 3]
    assert "'yesterday'" in found.unreadable[0][2]
    assert "'much' is no number" in found.unreadable[1][2]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,000.5", 1000.5),
        ("-12,345,678", -12_345_678.0),
        ("1,234,567.25USDT", 1_234_567.25),
        ("0,25", None),  # a quarter, or 25
        ("1,683", None),  # below two, or above a thousand
        ("-1,122 USDT", None),
        ("1.683,00", None),
        ("0,123.5", None),
        ("1,23,456", None),
    ],
)
def test_a_comma_is_read_only_where_it_parts_thousands(
    tmp_path: Path, text: str, number: float | None
) -> None:
    line = f'2025-11-05 08:00:00,FUNDING_FEE,"{text}",USDT,BTCUSDT,1\n'
    path = write(tmp_path, "Time,Type,Amount,Asset,Symbol,Transaction ID\n" + line)
    found = reading.read_income(path, NAMES)
    assert [x.amount for x in found.entries] == [number][: number is not None]
    why = (
        f"Amount {text!r} may have a decimal comma: export numbers with a decimal point, "
        "thousands without commas"
    )
    assert [x for _, _, x in found.unreadable] == [why][: number is None]


def test_a_file_tells_the_kinds_that_it_has_columns_for(tmp_path: Path) -> None:
    path = write(tmp_path, TRADES + TRADE.format(fee="1"))
    assert reading.read_trades(path, NAMES).kinds == {"trade", "fee", "realized_pnl"}
    assert reading.read_trades(path, NAMES, with_amounts=False).kinds == {"trade"}
    short = "Time,Symbol,Side,Price,Quantity\n2025-11-05 08:00:00,BTCUSDT,SELL,1,1\n"
    assert reading.read_trades(write(tmp_path, short), NAMES).kinds == {"trade"}
    income = "Time,Type,Amount\n2025-11-05 08:00:00,COMMISSION,-1\n"
    found = reading.read_income(write(tmp_path, income), NAMES)
    assert found.kinds == {"fee", "funding", "realized_pnl"}


def test_the_asset_behind_a_pnl_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, TRADES + TRADE.format(fee="0").replace(",1.5,", ",1.5BTC,"))
    assert [x.asset for x in reading.read_trades(path, NAMES).entries] == ["", "", "BTC"]


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_a_file_in_another_encoding_is_refused_with_what_to_do(
    tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "export.csv"
    path.write_bytes((TRADES + TRADE.format(fee="1 €")).encode(encoding))
    with pytest.raises(ExportError, match=r"export\.csv is no text in UTF-8: .* save it as CSV in"):
        reading.read_trades(path, NAMES)


def test_another_file_is_refused_with_the_column_it_lacks(tmp_path: Path) -> None:
    path = write(tmp_path, "date,open,high\n")
    with pytest.raises(ExportError, match=r"no trades export .* no column Time or Date\(UTC\)"):
        reading.read_trades(path, NAMES)


def test_times_of_another_zone_need_to_be_said(tmp_path: Path) -> None:
    text = "Time,Type,Amount,Asset,Symbol,Transaction ID\n2025-11-05 16:00:00,X,1,USDT,,1\n"
    path = write(tmp_path, text, "Transaction-History(UTC+8).csv")
    with pytest.raises(ExportError, match="--utc-offset 8"):
        reading.read_income(path, NAMES)
    assert reading.read_income(path, NAMES, 8).entries[0].at_ms == T_MS
    utc = write(tmp_path, text, "Transaction-History(UTC-0).csv")
    assert reading.read_income(utc, NAMES).entries[0].at_ms == T_MS + 8 * 3_600_000


def test_another_venue_is_another_file(tmp_path: Path) -> None:
    mapping = tmp_path / "mine.toml"
    mapping.write_text(
        'time_formats = ["%d.%m.%Y %H:%M"]\n'
        '[income]\ntime = ["when"]\nkind = ["what"]\namount = ["cash"]\nfee_sign = 1\n'
        '[income.kinds]\nfees = "fee"\n'
        '[trades]\ntime = ["when"]\nsymbol = ["pair"]\nside = ["side"]\nprice = ["px"]\n'
        'quantity = ["size"]\n',
        "utf-8",
    )
    names = reading.mapping(str(mapping))
    path = write(tmp_path, "when,what,cash\n05.11.2025 08:00,Fees,0.5\n")
    (entry,) = reading.read_income(path, names).entries
    assert (entry.kind, entry.amount, entry.at_ms) == ("fee", 0.5, T_MS)


def test_an_unknown_mapping_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="there are binance_futures"):
        reading.mapping("kraken")
    bad = tmp_path / "bad.toml"
    bad.write_text('time_formats = []\n[income]\ntime = ["t"]\n', "utf-8")
    with pytest.raises(ExportError, match=r"\[income\] lacks kind, amount"):
        reading.mapping(str(bad))


# ----------------------------------------------------------------------------------- matching


def entry(amount: float, at_s: float = 0, line: int = 2, order: str | None = None) -> Entry:
    at_ms = T_MS + round(at_s * 1000)
    return Entry("export.csv", line, at_ms, "fee", "BTCUSDT", amount, None, order)


def item(amount: float, at_s: float = 0, order: str | None = None) -> LogItem:
    return LogItem("fee", "BTCUSDT", T_MS + round(at_s * 1000), amount, order, "attempt a")


def told(found: Comparison) -> list[tuple[str, float | None, float | None]]:
    return [(x.verdict, x.venue_amount, x.log_amount) for x in found.differences]


@pytest.mark.parametrize(
    ("entries", "items", "expected"),
    [
        ([entry(1.0)], [item(1.0, 0.4)], []),
        ([entry(1.0)], [item(1.0, 200)], []),  # the order was reported later
        ([entry(1.0)], [item(1.0, 400)], [("missing", 1.0, None), ("only_in_logs", None, 1.0)]),
        ([entry(1.0)], [], [("missing", 1.0, None)]),
        ([], [item(1.0)], [("only_in_logs", None, 1.0)]),
        # several trades of one order
        ([entry(0.25), entry(0.75, 1, 3)], [item(1.0, 1.5)], []),
        # another order's trade stands between them in time
        ([entry(0.25), entry(0.75, 0, 3), entry(9.0, 1, 4)], [item(1.0, 0.9), item(9.0, 1.2)], []),
        # equal amounts are matched once each
        ([entry(1.0), entry(1.0, 0, 3)], [item(1.0)], [("missing", 1.0, None)]),
        # by order id the time does not matter
        ([entry(1.0, order="7")], [item(1.0, 9_000, "7")], []),
        ([entry(1.0, order="7")], [item(0.5, 0, "7")], [("differs", 1.0, 0.5)]),
        ([entry(0.4, order="7"), entry(0.6, 5, 3, "7")], [item(1.0, 0, "7")], []),
        # an order that the logs do not name is looked for by time
        ([entry(1.0, order="7")], [item(1.0)], []),
        ([entry(1.0)], [item(1.0, order="7")], []),
        # where both name an order, only equal ids match
        (
            [entry(1.0, order="99")],
            [item(1.0, 1, "7")],
            [("missing", 1.0, None), ("only_in_logs", None, 1.0)],
        ),
        ([entry(0.0)], [item(0.0)], []),  # nothing need not be told
    ],
)
def test_entries_and_log_items_are_matched(
    entries: list[Entry],
    items: list[LogItem],
    expected: list[tuple[str, float | None, float | None]],
) -> None:
    found = compare(entries, items)
    assert told(found) == expected
    missing = sum(verdict == "missing" for verdict, _, _ in expected)
    differing = sum(x.verdict == "differs" for x in found.differences)
    if entries:
        assert found.sums["fee", "USD"].matched_n == len(entries) - missing - differing


def bought(qty: float, px: float, at_s: float = 0, order: str | None = None) -> Entry:
    at_ms = T_MS + round(at_s * 1000)
    return Entry("export.csv", 2, at_ms, "trade", "BTCUSDT", qty, px, order)


def filled(qty: float, px: float | None, at_s: float = 0, order: str | None = None) -> LogItem:
    return LogItem("trade", "BTCUSDT", T_MS + round(at_s * 1000), qty, order, "attempt a", px)


@pytest.mark.parametrize("order", ["7", None])
@pytest.mark.parametrize(
    ("entries", "px", "differs"),
    [
        ([(2.0, 0.4455)], 0.4455, None),
        ([(2.0, 0.9955)], 0.4455, (0.9955, 0.4455)),
        ([(2.0, 0.00001234)], 0.00001238, (0.00001234, 0.00001238)),  # however small the price
        ([(2.0, 0.4455)], None, None),  # the logs name no price
        # the mean of an order's trades by quantity, which venues round
        ([(1.0, 100.0), (3.0, 100.2)], 100.15, None),
        ([(1.0, 100.0), (3.0, 100.2)], 100.155, None),
        ([(1.0, 100.0), (3.0, 100.2)], 100.1, (100.15, 100.1)),
        ([(1.0, 100.0), (3.0, 100.0)], 100.005, (100.0, 100.005)),  # one price is not rounded
    ],
)
def test_prices_of_trades_are_compared(
    entries: list[tuple[float, float]],
    px: float | None,
    differs: tuple[float, float] | None,
    order: str | None,
) -> None:
    told_qty = sum(qty for qty, _ in entries)
    found = compare([bought(*x, order=order) for x in entries], [filled(told_qty, px, 0.5, order)])
    assert [(x.verdict, x.kind) for x in found.differences] == [("differs", "price")] * bool(
        differs
    )
    for each in found.differences:
        assert (each.venue_amount, each.log_amount) == pytest.approx(differs, rel=1e-12)
    assert found.sums["trade", "BTCUSDT"].matched_n == (0 if differs else len(entries))


def test_a_trade_of_the_right_price_is_matched_before_one_of_another() -> None:
    entries = [bought(1.0, 100.0), bought(1.0, 200.0, 1)]
    # by time alone the first item would take the second entry, and both prices would differ
    found = compare(entries, [filled(1.0, 101.0, 0.5), filled(1.0, 200.0, 1.5)])
    assert [(x.venue_amount, x.log_amount) for x in found.differences] == [(100.0, 101.0)]


@pytest.mark.parametrize("kind", ["fee", "funding", "realized_pnl"])
def test_an_amount_in_an_asset_without_a_price_is_neither_compared_nor_added_up(kind: str) -> None:
    entries = [
        Entry("export.csv", 2, T_MS, kind, "BTCUSDT", 0.5, asset=asset) for asset in ("bnb", "USDC")
    ]
    found = compare(entries, [LogItem(kind, "BTCUSDT", T_MS, 0.5) for _ in (1, 2)])
    assert [(x.verdict, x.unit) for x in found.differences] == [
        ("only_in_logs", "USD"),
        ("incomparable", "BNB"),
    ]
    amounts = {key: (s.venue_amount, s.log_amount, s.matched_n) for key, s in found.sums.items()}
    assert amounts == {(kind, "BNB"): (0.5, 0.0, 0), (kind, "USD"): (0.5, 1.0, 1)}


def test_quantities_of_two_symbols_are_not_added_up() -> None:
    foreign = Entry("export.csv", 3, T_MS, "trade", "ETHUSDT", 5.0, 10.0)
    found = compare([bought(1.0, 100.0), foreign], [])
    assert {key: s.venue_amount for key, s in found.sums.items()} == {
        ("trade", "BTCUSDT"): 1.0,
        ("trade", "ETHUSDT"): 5.0,
    }


def test_what_logs_tell_outside_of_the_export_may_be_matched_and_is_not_missed() -> None:
    span = (T_MS, T_MS + 10_000)
    late, foreign, inside = item(1.0, 40), item(9.0, 41), item(4.0, 9)
    found = compare([entry(1.0, 5)], [late, foreign, inside], span)
    assert told(found) == [("only_in_logs", None, 4.0)]  # the order was reported later
    assert (found.sums["fee", "USD"].log_n, found.sums["fee", "USD"].log_amount) == (2, 5.0)


def test_symbols_and_kinds_are_kept_apart() -> None:
    other = LogItem("funding", "BTCUSDT", T_MS, 1.0)
    foreign = LogItem("fee", "ETHUSDT", T_MS, 1.0)
    found = compare([entry(1.0)], [other, foreign])
    assert [x.verdict for x in found.differences] == ["missing", "only_in_logs", "only_in_logs"]
    assert {x.where for x in found.differences if x.verdict == "missing"} == {"export.csv:2"}
