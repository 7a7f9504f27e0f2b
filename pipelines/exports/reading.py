"""Read a venue's CSV exports as entries: one for each amount that a line names.

Put here: mapping files, columns, times, numbers. Keep out: what the logs say.
"""

import csv
import datetime as dt
import io
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VENUES = Path(__file__).parent
LOG_KINDS = ("trade", "fee", "funding", "realized_pnl")  # what logs can tell
# A comma is read where it can only part thousands: before a decimal point, or where there are two.
_NUMBER = re.compile(
    r"^\s*([+-]?(?:\d*\.?\d+|[1-9]\d{0,2}(?:(?:,\d{3})+\.\d+|(?:,\d{3}){2,}))(?:[eE][+-]?\d+)?)"
    r"\s*([A-Za-z0-9]*)\s*$"
)
_WANTED = {
    "income": ("time", "kind", "amount"),
    "trades": ("time", "symbol", "side", "price", "quantity"),
}


class ExportError(ValueError):
    """An export or its mapping cannot be read; the text says which line and what to do."""


@dataclass(frozen=True)
class Entry:
    """One amount of one line of an export.

    ``kind`` is trade (amount: signed quantity, base units), realized_pnl, fee (paid), funding
    (received), or the venue's own word for what no log tells; ``asset`` is what the amount is in,
    empty where the line does not say it. ``at_ms`` is epoch ms of the second that the line names.
    """

    file: str
    line: int
    at_ms: int
    kind: str
    symbol: str
    amount: float
    px: float | None = None
    order_id: str | None = None
    asset: str = ""


@dataclass(frozen=True)
class Export:
    """The entries of one file, and its lines that could not be read, with the reason.

    ``kinds`` are those of LOG_KINDS that the file has the columns to tell, also where no line does.
    """

    file: str
    entries: tuple[Entry, ...]
    unreadable: tuple[tuple[str, int, str], ...]
    kinds: frozenset[str]

    @property
    def span(self) -> tuple[int, int]:
        """Return the first and the last moment that its lines are of, epoch ms."""
        times = [entry.at_ms for entry in self.entries]
        return min(times), max(times) + 1_000


def mapping(name: str) -> dict[str, Any]:
    """Return a mapping: one that ships, by name, or a file of one's own.

    Raises ExportError naming what ships, or what the file lacks.
    """
    path = VENUES / f"{name}.toml"
    if not path.exists():
        path = Path(name)
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        there = ", ".join(sorted(each.stem for each in VENUES.glob("*.toml")))
        raise ExportError(
            f"{name} is no mapping file; there are {there}: copy one to describe another venue"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExportError(f"{path} is not TOML: {error}") from error
    for part, names in _WANTED.items():
        missing = [each for each in names if each not in found.get(part, {})]
        if missing or "time_formats" not in found:
            raise ExportError(f"{path}: [{part}] lacks {', '.join(missing) or 'time_formats'}")
    return found


def read_income(path: Path, names: Mapping[str, Any], utc_offset_h: float | None = None) -> Export:
    """Read a history of balance changes. Raises ExportError where its header is another."""
    part = names["income"]
    kinds = {str(word).upper(): kind for word, kind in part.get("kinds", {}).items()}

    def entries(row: Mapping[str, str], line: int, at_ms: int) -> Iterator[Entry]:
        word = _text(row, part["kind"])
        kind = kinds.get(word.upper(), word)
        amount, asset = _amount(row, part["amount"])
        sign = part.get("fee_sign", -1) if kind == "fee" else 1
        symbol = _text(row, part.get("symbol", ())).upper()
        asset = _text(row, part.get("asset", ())) or asset
        yield Entry(path.name, line, at_ms, kind, symbol, sign * amount, asset=asset)

    return _read(
        path, names, "income", utc_offset_h, entries, dict.fromkeys(kinds.values(), "amount")
    )


def read_trades(
    path: Path,
    names: Mapping[str, Any],
    utc_offset_h: float | None = None,
    *,
    with_amounts: bool = True,
) -> Export:
    """Read a history of trades; ``with_amounts`` also their fees and realised PnL.

    Raises ExportError where its header is another.
    """
    part = names["trades"]

    def entries(row: Mapping[str, str], line: int, at_ms: int) -> Iterator[Entry]:
        symbol = _text(row, part["symbol"]).upper()
        side = _text(row, part["side"]).upper()
        if side not in ("BUY", "SELL"):
            raise ValueError(f"side {side!r} is neither BUY nor SELL")
        order_id = _text(row, part.get("order_id", ())) or None
        qty = _amount(row, part["quantity"])[0] * (1 if side == "BUY" else -1)
        px = _amount(row, part["price"])[0]
        yield Entry(path.name, line, at_ms, "trade", symbol, qty, px, order_id)
        if not with_amounts:
            return
        if _text(row, part.get("fee", ())):
            fee, asset = _amount(row, part["fee"])
            fee *= part.get("fee_sign", 1)
            yield Entry(path.name, line, at_ms, "fee", symbol, fee, px, order_id, asset)
        if _text(row, part.get("realized_pnl", ())):
            pnl, asset = _amount(row, part["realized_pnl"])
            if pnl:
                yield Entry(
                    path.name, line, at_ms, "realized_pnl", symbol, pnl, px, order_id, asset
                )

    told = {"trade": "quantity"}
    if with_amounts:
        told |= {"fee": "fee", "realized_pnl": "realized_pnl"}
    return _read(path, names, "trades", utc_offset_h, entries, told)


def _read(
    path: Path,
    names: Mapping[str, Any],
    export: str,
    utc_offset_h: float | None,
    entries: Any,
    told: Mapping[str, str],
) -> Export:
    """Read a file by what makes entries of a line; ``told`` names the column of each kind."""
    part, offset_h = names[export], _offset(path, names, utc_offset_h)
    header, rows = _rows(path)
    columns = {name.strip().lower(): name for name in header}
    lacking = [each for each in _WANTED[export] if not _column(columns, part[each])]
    if lacking:
        raise ExportError(
            f"{path} is no {export} export of {names.get('venue', 'this venue')}: no column "
            f"{' or '.join(part[lacking[0]])} among {', '.join(header or ('none',))}"
        )
    found: list[Entry] = []
    unreadable: list[tuple[str, int, str]] = []
    for line, cells in rows:
        try:
            at_ms = _time(_text(cells, part["time"]), names["time_formats"], offset_h)
            found += entries(cells, line, at_ms)
        except ValueError as error:
            unreadable.append((path.name, line, str(error)))
    kinds = {kind for kind, name in told.items() if _column(columns, part.get(name, []))}
    return Export(path.name, tuple(found), tuple(unreadable), frozenset(kinds & {*LOG_KINDS}))


def _rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Return the header, and of each line its number and its cells by name in lower case.

    Raises ExportError where the file is no text in UTF-8, or no CSV.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        header = list(reader.fieldnames or ())
        rows = [
            (
                reader.line_num,
                {(k or "").strip().lower(): v for k, v in row.items() if isinstance(v, str)},
            )
            for row in reader
        ]
    except UnicodeDecodeError as error:
        raise ExportError(
            f"{path} is no text in UTF-8: unpack it if it is packed, save it as CSV in UTF-8 if it "
            "is a spreadsheet or in another encoding, such as UTF-16"
        ) from error
    except csv.Error as error:
        raise ExportError(f"{path} is no CSV: {error}; export it again") from error
    return header, rows


def _offset(path: Path, names: Mapping[str, Any], utc_offset_h: float | None) -> float:
    """Return the hours that times are ahead of UTC; a file that says another zone must be asked."""
    if utc_offset_h is not None:
        return utc_offset_h
    pattern = names.get("zone_in_file_name")
    match = re.search(pattern, path.name) if pattern else None
    if match and match[1].strip(" +-0:.") != "":
        raise ExportError(
            f"{path.name} says its times are UTC{match[1]}: export it in UTC, or say how many "
            "hours they are ahead of UTC, such as --utc-offset 8"
        )
    return 0.0


def _column(row: Mapping[str, str], wanted: list[str]) -> str | None:
    return next((name.lower() for name in wanted if name.lower() in row), None)


def _text(row: Mapping[str, str], wanted: Any) -> str:
    name = _column(row, list(wanted))
    return "" if name is None else row[name].strip()


def _amount(row: Mapping[str, str], wanted: list[str]) -> tuple[float, str]:
    """Return a number and the asset written behind it."""
    text = _text(row, wanted)
    match = _NUMBER.match(text)
    if match is None:
        if "," in text:
            raise ValueError(
                f"{wanted[0]} {text!r} may have a decimal comma: export numbers with a decimal "
                "point, thousands without commas"
            )
        raise ValueError(f"{wanted[0]} {text!r} is no number")
    return float(match[1].replace(",", "")), match[2]


def _time(text: str, formats: list[str], offset_h: float) -> int:
    if text.isdigit() and len(text) in (10, 13):
        return int(text) * (1000 if len(text) == 10 else 1)
    for form in formats:
        try:
            moment = dt.datetime.strptime(text, form).replace(tzinfo=dt.UTC)
        except ValueError:
            continue
        return round((moment.timestamp() - offset_h * 3600) * 1000)
    raise ValueError(f"time {text!r} is written in none of {', '.join(formats)}")
