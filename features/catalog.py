"""Read the SQL files: what each table is, what it reads, in which order they run, column lineage.

Put here: everything learned from the text of sql/ and checks/. Keep out: running it.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import sqlglot
from sqlglot import exp

_HERE = Path(__file__).parent
_PARAM = re.compile(r"\$([a-z_0-9]+)")
_COMMENTED = re.compile(r"\bAS\s+(\w+),?\s+--\s*(.+?)\s*$")


@dataclass(frozen=True)
class Table:
    """One SQL file: the definition of a table and all that is said about it."""

    name: str
    sql: str
    what: str
    header: dict[str, str]
    inputs: tuple[str, ...]
    params: tuple[str, ...]
    grain: tuple[str, ...]
    columns: dict[str, str]  # final column → comment

    @property
    def layer(self) -> str:
        return self.name.partition("_")[0]

    @property
    def comment(self) -> str:
        rest = "; ".join(f"{label}: {text}" for label, text in self.header.items())
        return f"{self.what} {rest}"


@dataclass(frozen=True)
class Check:
    """One SQL file returning offending rows; ``severity`` fail, hold or warn."""

    name: str
    sql: str
    severity: str
    cause: str
    inputs: tuple[str, ...]
    params: tuple[str, ...]


@cache
def tables() -> dict[str, Table]:
    """Return every table, inputs before the tables that read them."""
    found = {path.stem: _table(path) for path in sorted((_HERE / "sql").glob("*.sql"))}
    order = TopologicalSorter(
        {name: [i for i in table.inputs if i in found] for name, table in sorted(found.items())}
    )
    return {name: found[name] for name in order.static_order()}


@cache
def checks() -> dict[str, Check]:
    """Return every check by name."""
    return {path.stem: _check(path) for path in sorted((_HERE / "checks").glob("*.sql"))}


def layer(prefix: str) -> list[Table]:
    """Return the tables of one layer (core, feat) in running order."""
    return [table for table in tables().values() if table.layer == prefix]


@cache
def code_digest() -> str:
    """Return the SHA-256 over every SQL file of tables and checks."""
    digest = hashlib.sha256()
    for path in sorted([*(_HERE / "sql").glob("*.sql"), *(_HERE / "checks").glob("*.sql")]):
        digest.update(f"{path.name}\n{path.read_text('utf-8')}\n".encode())
    return digest.hexdigest()


def column_lineage(name: str) -> dict[str, list[tuple[str, str]]]:
    """Map each column of a table to the (table, column) pairs it comes from, read from the SQL."""
    from sqlglot.lineage import lineage

    table = tables()[name]
    sources = {}
    for upstream in table.inputs:
        if upstream in tables():
            sources[upstream] = tables()[upstream].columns
    schema = {t: dict.fromkeys(columns, "DOUBLE") for t, columns in sources.items()}
    found: dict[str, list[tuple[str, str]]] = {}
    for column in table.columns:
        try:
            root = lineage(column, table.sql, schema=schema or None, dialect="duckdb")
        except sqlglot.errors.SqlglotError:
            continue
        pairs = set()
        for node in root.walk():
            if isinstance(node.expression, exp.Table):
                pairs.add((node.expression.name, node.name.rpartition(".")[2].strip('"')))
        known = {pair for pair in pairs if pair[0] in table.inputs}
        if known:
            found[column] = sorted(known)
    return found


def _table(path: Path) -> Table:
    text = path.read_text("utf-8")
    header = _leading_comment(text)
    labels = {}
    for line in header[1:]:
        label, _, rest = line.partition(":")
        labels[label.strip()] = rest.strip()
    columns = {}
    tail = text[text.rindex("\nSELECT") :] if "\nSELECT" in text else text
    # A comment may stand behind the alias of an expression over several lines.
    for line in tail.splitlines():
        match = _COMMENTED.search(line)
        if match:
            columns[match[1]] = match[2]
    return Table(
        name=path.stem,
        sql=text,
        what=header[0],
        header=labels,
        inputs=_inputs(text),
        params=tuple(sorted(set(_PARAM.findall(_bare(text))))),
        grain=tuple(part.strip() for part in labels.get("Grain", "").split(",")),
        columns=columns,
    )


def _check(path: Path) -> Check:
    text = path.read_text("utf-8")
    severity, _, cause = _leading_comment(text)[0].partition(":")
    return Check(
        name=path.stem,
        sql=text,
        severity=severity.strip(),
        cause=cause.strip(),
        inputs=_inputs(text),
        params=tuple(sorted(set(_PARAM.findall(_bare(text))))),
    )


def _leading_comment(text: str) -> list[str]:
    lines = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return lines


def _bare(text: str) -> str:
    return re.sub(r"--[^\n]*", "", text)


def _inputs(text: str) -> tuple[str, ...]:
    tree = sqlglot.parse_one(_bare(text), dialect="duckdb")
    ctes = {cte.alias for cte in tree.find_all(exp.CTE)}
    names = {table.name for table in tree.find_all(exp.Table)}
    return tuple(sorted(names - ctes))
