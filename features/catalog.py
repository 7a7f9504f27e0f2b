"""Read the SQL files: what each table is, what it reads, in which order they run, column lineage.

Put here: everything learned from the text of sql/ and checks/. Keep out: running it.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot.optimizer.scope import Scope

Column = tuple[str, str]  # table, column
Lineage = dict[str, list[Column]]

_HERE = Path(__file__).parent
# What build.py and rebuild.py set up: the stored tables behind each, and its columns.
_SET_UP: dict[str, Callable[[Collection[str]], tuple[str, ...]]] = {
    "raw_sources": lambda raw: tuple(sorted(raw)),
    "edge_hours": lambda raw: ("core_execution__hourly",),  # the same sums over parts of hours
    "cut_trace_days": lambda raw: ("core_telemetry__daily",),  # the same over parts of days
    "cut_trace_paths": lambda raw: ("core_telemetry__paths",),
    "spoken_hours": lambda raw: ("raw_orders__events",),
    "rebuild_hours": lambda raw: (),
    "source_rules": lambda raw: (),
    "param_knots": lambda raw: (),
    "previous_memory": lambda raw: (),  # of another snapshot
    "previous_alerts": lambda raw: (),
}
_BUILD_COLUMNS: dict[str, tuple[str, ...]] = {
    "raw_sources": (
        "source",
        "source_id",
        "symbol",
        "is_recent",
        "n",
        "rejected_n",
        "first_ms",
        "event_ms",
        "ingested_ms",
        "line_offset",
    ),
    "spoken_hours": ("environment", "account", "hour_n"),
    "rebuild_hours": ("hour_ms", "part"),
    "source_rules": ("source", "required", "max_silence_s"),
    "param_knots": ("param", "x", "y"),
}
# Columns that a build sums: the raw columns they are made of.
_MADE_OF = {
    ("raw_sources", "is_recent"): "event_ms",
    ("raw_sources", "first_ms"): "event_ms",
    ("raw_sources", "rejected_n"): "reject_reason",
}
# Window tables with the columns of a stored one, whose names they do not repeat.
_STORED_AS = {
    "core_window__outcomes": "core_execution__outcomes",
    "core_window__hourly": "core_execution__hourly",
    "core_window__trace_days": "core_telemetry__daily",
    "core_window__trace_paths": "core_telemetry__paths",
    "core_window__last_traces": "core_window__traces",
}
_LABELS = ("Grain", "Units", "Source", "Params", "Rebuild", "Adds up")
_PARAM = re.compile(r"\$([a-z_0-9]+)")
# Parsing every file takes longer than a refresh with nothing to do; a test holds the two together.
_READ = re.compile(r"(?<!DISTINCT )\b(?:FROM|JOIN)\s+([a-z_]\w*)\b(?!\s*\()")
_CTE = re.compile(r"\b(\w+) AS (?:NOT MATERIALIZED |MATERIALIZED )?\(\s*(?:WITH|SELECT)\b")
_COMMENTED = re.compile(r"\bAS\s+(\w+),?\s+--\s*(.+?)\s*$")


@dataclass(frozen=True)
class Table:
    """One SQL file: the definition of a table and all that is said about it."""

    name: str
    sql: str
    what: str
    header: dict[str, str]  # label → text
    notes: tuple[str, ...]  # sentences behind the labels
    inputs: tuple[str, ...]
    params: tuple[str, ...]
    grain: tuple[str, ...]
    columns: dict[str, str]  # final column → comment

    @property
    def layer(self) -> str:
        return self.name.partition("_")[0]

    @property
    def is_stored(self) -> bool:
        """Tell whether the lake holds it, rebuilt by hours; a build computes every other table."""
        return "Rebuild" in self.header

    @property
    def adds_up_over(self) -> str:
        """Name the stored table over whose files it adds up; empty where it needs all rows."""
        return self.header.get("Adds up", "").partition(";")[0].removeprefix("over files of ")

    @property
    def is_view(self) -> bool:
        """Tell whether such a table has too many rows to stand in memory."""
        return "; a view" in self.header.get("Adds up", "")

    @property
    def comment(self) -> str:
        rest = "; ".join(f"{label}: {text}" for label, text in self.header.items())
        return " ".join(filter(None, [self.what, f"{rest}.", *self.notes]))


@dataclass(frozen=True)
class Check:
    """One SQL file returning offending rows; ``severity`` fail, hold or warn.

    ``narrows`` says what its verdict may be put together from: hours, closes (of one id), or
    nothing but all rows at once ("").
    """

    name: str
    sql: str
    severity: str
    cause: str
    inputs: tuple[str, ...]
    params: tuple[str, ...]
    narrows: str = ""


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


def stored() -> list[Table]:
    """Return the core tables of the lake in running order."""
    return [table for table in layer("core") if table.is_stored]


def computed() -> list[Table]:
    """Return the tables that each build computes into its snapshot, in running order."""
    return [
        table
        for table in tables().values()
        if not table.is_stored and not table.name.startswith("core_window__")
    ]


@cache
def code_digest() -> str:
    """Return the SHA-256 over every SQL file of tables and checks."""
    digest = hashlib.sha256()
    for path in sorted([*(_HERE / "sql").glob("*.sql"), *(_HERE / "checks").glob("*.sql")]):
        digest.update(f"{path.name}\n{path.read_text('utf-8')}\n".encode())
    return digest.hexdigest()


def with_inputs(names: Collection[str]) -> set[str]:
    """Return these tables and every table that they read, at any remove."""
    found: set[str] = set()
    todo = [name for name in names if name in tables()]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [each for each in tables()[name].inputs if each in tables()]
    return found


def stored_inputs(name: str, raw: Collection[str]) -> tuple[str, ...]:
    """Return the stored tables, raw, core or feat, that a table is computed from.

    What only a build sets up (core_window__*, edge_hours, raw_sources) is followed to the tables
    behind it; ``raw`` names every raw table.
    """
    found: set[str] = set()
    for upstream in tables()[name].inputs:
        if upstream in _SET_UP:
            found.update(_SET_UP[upstream](raw))
        elif upstream.startswith("core_window__"):
            found.update(stored_inputs(upstream, raw))
        else:
            found.add(upstream)
    return tuple(sorted(found))


def column_lineage(name: str, raw: Mapping[str, Collection[str]]) -> Lineage:
    """Map each column of a table to the (table, column) pairs its values come from.

    ``raw`` names the columns of every raw table. Pairs are of stored tables, one step up. A column
    that only counts rows, or holds a parameter, comes from no column and is left out.
    """
    return _lineage(name, tuple((table, tuple(columns)) for table, columns in sorted(raw.items())))


@cache
def _lineage(name: str, raw: tuple[tuple[str, tuple[str, ...]], ...]) -> Lineage:
    import sqlglot  # takes a tenth of a second, which only lineage needs
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    known = dict(raw)
    columns: dict[str, Collection[str]] = {**known, **_BUILD_COLUMNS}
    for core in layer("core"):
        columns[core.name] = tables()[_STORED_AS.get(core.name, core.name)].columns
    for core_name, span_of in (
        ("core_window__trace_days", "cut_trace_days"),
        ("core_window__trace_paths", "cut_trace_paths"),
    ):
        columns[core_name] = columns[span_of] = ("span", *columns[core_name])
    columns |= {feat.name: tuple(feat.columns) for feat in layer("feat")}
    columns["edge_hours"] = columns["core_execution__hourly"]
    columns["previous_memory"] = columns["feat_symbol__memory"]
    columns["previous_alerts"] = columns["feat_ops__alerts"]
    tree = qualify(
        sqlglot.parse_one(tables()[name].sql, dialect="duckdb"),
        dialect="duckdb",
        schema={table: dict.fromkeys(names, "TEXT") for table, names in columns.items()},
        validate_qualify_columns=False,
        identify=False,
        quote_identifiers=False,
    )
    scope = build_scope(tree)
    assert scope is not None  # every file is one SELECT
    seen: dict[tuple[int, str], frozenset[Column]] = {}
    found: Lineage = {}
    for column in tables()[name].columns or columns[name]:
        pairs: set[Column] = set()
        for table, origin in _origins(scope, column, seen):
            if table in _SET_UP:
                behind = _SET_UP[table](known)
                origin = _MADE_OF.get((table, origin), origin)
                pairs.update((t, origin) for t in behind if origin in columns[t])
            elif table.startswith("core_window__"):
                pairs.update(_lineage(table, raw).get(origin, ()))
            else:
                pairs.add((table, origin))
        if pairs:
            found[column] = sorted(pairs)
    return found


def _origins(
    scope: "Scope", column: str, seen: dict[tuple[int, str], frozenset[Column]]
) -> frozenset[Column]:
    """Follow one column of a scope through its CTEs and subqueries to the tables it reads."""
    from sqlglot import exp
    from sqlglot.optimizer.scope import Scope

    key = (id(scope), column)
    if key in seen:
        return seen[key]
    seen[key] = frozenset()  # ends a recursive CTE
    pairs: set[Column] = set()
    query = scope.expression
    if isinstance(query, exp.Values):
        return seen[key]  # literals come from no column
    assert isinstance(query, exp.Query)
    if scope.set_operation_scopes:
        position = query.named_selects.index(column)
        for branch in scope.set_operation_scopes:
            assert isinstance(branch.expression, exp.Query)
            pairs |= _origins(branch, branch.expression.named_selects[position], seen)
    else:
        sources = {n: s for sub in scope.subquery_scopes for n, s in sub.sources.items()}
        sources |= scope.sources
        for select in query.selects:
            if select.alias_or_name != column:
                continue
            for part in select.find_all(exp.Column):
                source = sources.get(part.table)
                if isinstance(source, Scope):
                    pairs |= _origins(source, part.name, seen)
                elif isinstance(source, exp.Table):
                    pairs.add((source.name, part.name))
    seen[key] = frozenset(pairs)
    return seen[key]


def _table(path: Path) -> Table:
    text = path.read_text("utf-8")
    header = _leading_comment(text)
    what = header[:1]
    labels: dict[str, str] = {}
    notes: list[str] = []
    for line in header[1:]:
        label, _, rest = line.partition(":")
        if label in _LABELS:
            labels[label] = rest.strip()
        else:
            (notes if labels else what).append(line)
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
        what=" ".join(what),
        header=labels,
        notes=tuple(notes),
        inputs=_inputs(text),
        params=tuple(sorted(set(_PARAM.findall(_bare(text))))),
        grain=tuple(part.strip() for part in labels.get("Grain", "").split(",")),
        columns=columns,
    )


def _check(path: Path) -> Check:
    text = path.read_text("utf-8")
    header = _leading_comment(text)
    severity, _, cause = header[0].partition(":")
    narrows = [line.removeprefix("Narrows:") for line in header[1:] if line.startswith("Narrows:")]
    return Check(
        name=path.stem,
        sql=text,
        severity=severity.strip(),
        cause=cause.strip(),
        narrows="".join(narrows).strip(),
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
    bare = _bare(text)
    return tuple(sorted(set(_READ.findall(bare)) - set(_CTE.findall(bare))))
