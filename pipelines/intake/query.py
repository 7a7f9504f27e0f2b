"""Write the one DuckDB query that turns lines of a kind into rows of its raw table.

Put here: SQL made from a Kind's columns; every name comes from kinds.py, every value is bound.
Keep out: running it (decode.py), which columns there are (kinds.py).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from features.durations import DAY_MS
from features.engines.duckdb import literal, sql_type
from pipelines.intake.kinds import Column, Kind

FUTURE_LIMIT_MS = DAY_MS  # a clock more than a day ahead is wrong, not early
EARLIEST_MS = 315_532_800_000  # 1980-01-01: an earlier stamp is a clock that was never set
NUMBER_LIMIT = 1e15  # beyond it a price, quantity or amount is an overflow, read as NULL
KEPT_LINE_CHARS = 65_536  # of a rejected line

MACROS = """
CREATE OR REPLACE TEMP MACRO as_us(x) AS
    CASE
        WHEN TRY_CAST(x AS DOUBLE) IS NOT NULL THEN
            CASE
                WHEN abs(TRY_CAST(x AS DOUBLE)) <= 1e12
                    THEN CAST(round(TRY_CAST(x AS DOUBLE) * 1e6) AS BIGINT)
                WHEN abs(TRY_CAST(x AS DOUBLE)) < 1e15
                    THEN CAST(round(TRY_CAST(x AS DOUBLE) * 1e3) AS BIGINT)
            END
        WHEN regexp_matches(x, '^\\s*\\d{4}-\\d{2}-\\d{2}([T ].*)?$')
            THEN epoch_us(TRY_CAST(x AS TIMESTAMPTZ))
    END;
CREATE OR REPLACE TEMP MACRO as_flag(x) AS
    CASE lower(x) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE
                  WHEN '1' THEN TRUE WHEN '0' THEN FALSE END;
"""

PLACE_KEYS = {
    "account": ("account",),
    "environment": ("environment", "env"),
    "venue": ("venue", "exchange"),
}


def keys_of(kind: Kind) -> list[str]:
    """List every dotted key that a kind reads."""
    groups = [kind.event_keys, kind.symbol_keys, *PLACE_KEYS.values()]
    groups += [column.keys for column in kind.columns]
    return list(dict.fromkeys(key for group in groups for key in group))


def tree_of(keys: Iterable[str]) -> dict[str, Any]:
    """Nest dotted keys: {"prices": {"mark": None}, "ts": None}, which removes them as a patch."""
    tree: dict[str, Any] = {}
    for key in keys:
        node = tree
        *parents, leaf = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = None
    return tree


def parents_of(tree: dict[str, Any], above: str = "") -> dict[str, dict[str, Any]]:
    """Map the dotted path of every object in a tree, "" for the top, to its members."""
    found = {above: tree}
    for name, node in tree.items():
        if isinstance(node, dict):
            found |= parents_of(node, f"{above}.{name}" if above else name)
    return found


def paths_sql(keys: Iterable[str]) -> str:
    """Write the list of JSON paths of dotted keys; "" is the whole line."""
    return "[" + ", ".join(literal(f"$.{key}" if key else "$") for key in keys) + "]"


def _emptied(tree: dict[str, Any]) -> str:
    """Write the pattern of an object whose known members are gone: nothing, or emptied objects."""
    members = _emptied_members(tree)
    return rf"\{{(?:{members},?)*\}}" if members else r"\{\}"


def _emptied_members(tree: dict[str, Any]) -> str:
    """Write the pattern of one such object with its name, "" where a tree holds none."""
    inner = [f'"{name}":{_emptied(node)}' for name, node in tree.items() if node is not None]
    return f"(?:{'|'.join(inner)})" if inner else ""


def _unpatched(tree: dict[str, Any]) -> str:
    """Write what a merge patch left of ``patched``: NULL for nothing.

    The patch empties known objects and adds the absent ones, empty: those go.
    """
    rest = "patched"
    members = _emptied_members(tree)
    for pattern in (f"{members},", f",{members}") if members else ():
        rest = f"regexp_replace({rest}, {literal(pattern)}, '', 'g')"
    return f"CASE WHEN NOT regexp_full_match(patched, {literal(_emptied(tree))}) THEN {rest} END"


def _first(expressions: Sequence[str]) -> str:
    """Write the first non-null of some expressions."""
    if len(expressions) < 2:
        return expressions[0] if expressions else "NULL"
    return f"COALESCE({', '.join(expressions)})"


@dataclass(frozen=True)
class _Number:
    """One numeric key of a column: where it is read and the name of its cast."""

    key: str
    name: str
    is_amount: bool


class _Writer:
    """Write the query of a kind over the keys in ``present``; None means any key may occur.

    The lines' values stand in the list ``v``, in the order of ``held``.
    """

    def __init__(self, kind: Kind, named: Sequence[str], present: frozenset[str] | None) -> None:
        self.kind = kind
        self.named = named
        self.is_json = kind.format == "jsonl"
        self.any_shape = present is None
        self.held = [key for key in keys_of(kind) if present is None or key in present]

    def ref(self, key: str) -> str:
        return f"v[{self.held.index(key) + 1}]"

    def first(self, keys: Sequence[str], file_value: str = "") -> str:
        refs = [self.ref(key) for key in keys if key in self.held]
        if file_value in self.named:
            refs.append(f"$named_{file_value}")
        return _first(refs)

    def place(self, name: str) -> str:
        refs = [f"NULLIF({self.ref(key)}, '')" for key in PLACE_KEYS[name] if key in self.held]
        return _first([*refs, f"${name}"])

    def numbers(self, column: Column) -> list[_Number]:
        if column.type not in ("number", "amount"):
            return []
        return [
            _Number(key, f"{column.name}__{i}", column.type == "amount")
            for i, key in enumerate(column.keys)
            if key in self.held
        ]

    def value(self, column: Column) -> str:
        if column.within:
            other = next(c for c in self.kind.columns if c.name == column.within)
            text = self.value(other)
            if text == "NULL":
                return text
            path = literal(f"$.{column.name}")
            return (
                f"CASE WHEN contains({text}, {literal(column.name)}) AND json_valid({text})"
                f" THEN TRY_CAST(json_extract_string({text}, {path}) AS DOUBLE) END"
            )
        if column.type in ("number", "amount"):
            return _first(
                [
                    f"CASE WHEN abs({n.name}) < {NUMBER_LIMIT:g} THEN {n.name} END"
                    for n in self.numbers(column)
                ]
            )
        text = self.first(column.keys, column.name)
        form = {
            "text": "safe({}, is_doubtful)",
            "flag": "as_flag({})",
            "time_ms": "as_us({}) // 1000",
            "json": "safe_json({}, is_doubtful)",
        }
        return form[column.type].format(text) if text != "NULL" else text

    def texts(self) -> str:
        """Write every text that is stored, in one."""
        groups = [self.kind.symbol_keys, *PLACE_KEYS.values()]
        groups += [c.keys for c in self.kind.columns if c.type in ("text", "json")]
        keys = dict.fromkeys(key for group in groups for key in group if key in self.held)
        return f"concat_ws('|', {', '.join(map(self.ref, keys))})" if keys else "''"

    def nulled(self) -> str:
        """Write how many values were read as NULL though the line holds something.

        Counting costs more than seeing that there is nothing to count.
        """
        numbers = [f"abs({n.name})" for column in self.kind.columns for n in self.numbers(column)]
        flags = [
            f"({self.ref(key)} IS NOT NULL AND as_flag({self.ref(key)}) IS NULL)"
            for column in self.kind.columns
            if column.type == "flag"
            for key in column.keys
            if key in self.held
        ]
        signs = [f"greatest({', '.join(numbers)}) >= {NUMBER_LIMIT:g}"] if numbers else []
        signs += flags
        parts = [f"COALESCE({number} >= {NUMBER_LIMIT:g}, FALSE)::INT" for number in numbers]
        parts += [f"{flag}::INT" for flag in flags]
        return (
            f"CASE WHEN {' OR '.join(signs)} THEN {' + '.join(parts)} ELSE 0 END" if signs else "0"
        )

    def reject_cases(self) -> tuple[list[str], list[str]]:
        """Return the WHEN branches that name a faulty field, and one cheap doubt for each."""
        cases, doubts = [], []
        if self.is_json and self.any_shape:
            for i, path in enumerate(parents_of(tree_of(self.held)), start=1):
                if path:
                    doubts.append(f"COALESCE(types[{i}] NOT IN ('OBJECT', 'NULL'), FALSE)")
                    cases.append(f"WHEN {doubts[-1]} THEN 'not_an_object:{path}'")
        for column in self.kind.columns:
            for n in self.numbers(column):
                doubts.append(f"({n.name} IS NULL AND {self.ref(n.key)} IS NOT NULL)")
                cases.append(f"WHEN {doubts[-1]} THEN 'not_a_number:{n.key}'")
                if n.is_amount:
                    doubts.append(f"COALESCE({n.name} < 0 AND {n.name} > -{NUMBER_LIMIT:g}, FALSE)")
                    cases.append(f"WHEN {doubts[-1]} THEN 'negative:{n.key}'")
            for key in column.keys if column.type == "time_ms" else ():
                if key in self.held:
                    ref = self.ref(key)
                    doubts.append(f"({ref} IS NOT NULL AND as_us({ref}) IS NULL)")
                    cases.append(f"WHEN {doubts[-1]} THEN 'not_a_time:{key}'")
        return cases, doubts

    def read(self) -> str:
        if not self.is_json:
            return "read AS (SELECT *, line AS json FROM lines_other),"
        values = f"json_extract_string(json, {paths_sql(self.held)}) AS v"
        if not self.any_shape:  # decode.py has looked at their keys: valid objects, nothing else
            return f"""parsed AS (
    SELECT line_offset, line, line_error, line AS json FROM lines_usual
),
read AS (
    SELECT *, {values}, NULL AS rest FROM parsed
),"""
        tree = tree_of(self.held)
        return f"""parsed AS (
    SELECT *, CASE WHEN line_error IS NULL AND json_valid(line) THEN line END AS json
    FROM lines_other
),
patched AS (
    SELECT *,
        {values},
        json_type(json, {paths_sql(parents_of(tree))}) AS types,
        CASE WHEN json IS NOT NULL
             THEN json_merge_patch(json, {literal(json.dumps(tree))}) END AS patched,
    FROM parsed
),
read AS (
    SELECT * EXCLUDE (patched), {_unpatched(tree)} AS rest FROM patched
),"""

    def query(self, schema: pa.Schema) -> str:
        symbol = f"upper(trim({self.first(self.kind.symbol_keys)}))"
        if "symbol" in self.named:
            symbol = f"COALESCE({symbol}, upper($named_symbol))"
        time_text = self.first(self.kind.event_keys)
        casts = "".join(
            f"\n        TRY_CAST({self.ref(n.key)} AS DOUBLE) AS {n.name},"
            for column in self.kind.columns
            for n in self.numbers(column)
        )
        cases, doubts = self.reject_cases()
        is_object = "types[1] = 'OBJECT'" if self.is_json and self.any_shape else "TRUE"
        day = "CAST(CAST(make_timestamp(event_us) AS DATE) AS VARCHAR)"
        part = f"left({day}, 4)" if self.kind.partition == "year" else day
        values = {
            "event_ms": "event_us // 1000",
            "ingest_seq": "$ingest_seq",
            "symbol": "safe(symbol, is_doubtful)",
            "source_id": "$source_id",
            "line_offset": "line_offset",
            "source_name": "$source_name",
            "line_hash": "CAST(md5_number(line) >> 64 AS HUGEINT) - 9223372036854775808",
            "ingested_ms": "$ingested_ms",
            "event_at_utc": "make_timestamptz(event_us)",
            "account": f"safe({self.place('account')}, is_doubtful)",
            "environment": f"safe(lower({self.place('environment')}), is_doubtful)",
            "venue": f"safe(COALESCE({self.place('venue')}, 'unknown'), is_doubtful)",
            "reject_reason": "reject_reason",
            "nulled_n": self.nulled(),
            "extra_json": "safe_json(rest, rest IS NOT NULL)",
            "raw_line": "CASE WHEN reject_reason IS NOT NULL THEN redact("
            f"left(rtrim(line, chr(10) || chr(13)), {KEPT_LINE_CHARS})) END",
            "part": f"COALESCE({part}, 'unknown')",
            **{column.name: self.value(column) for column in self.kind.columns},
        }
        columns = ",\n    ".join(
            f'CAST({values[field.name]} AS {sql_type(field.type)}) AS "{field.name}"'
            for field in schema
        )
        ruled, source = self.ruled()
        faults = " ".join(cases)
        if doubts and not self.any_shape:  # for many lines: look closer only where there is doubt
            faults = f"WHEN {' OR '.join(doubts)} THEN CASE {faults} END"
        return f"""WITH {self.read()}
timed AS (
    SELECT *,
        {symbol} AS symbol,
        {self.texts()} AS texts,
        {time_text} AS time_text,
        as_us({time_text}) AS stamp_us,{casts}
    FROM read
),
dated AS (
    SELECT *,
        CASE WHEN stamp_us >= {EARLIEST_MS} * 1000
                  AND stamp_us <= ($ingested_ms + {FUTURE_LIMIT_MS}) * 1000
             THEN stamp_us END AS event_us,
        may_hold_secret(texts) AS is_doubtful,
    FROM timed
),
judged AS (
    SELECT *,
        CASE
            WHEN line_error IS NOT NULL THEN line_error
            WHEN json IS NULL OR v IS NULL THEN
                CASE WHEN trim(line, chr(10) || chr(13) || chr(9) || ' ') = '' THEN 'blank_line'
                     ELSE 'not_{"json" if self.is_json else "csv"}' END
            WHEN NOT {is_object} THEN 'not_an_object'
            WHEN event_us IS NULL THEN
                CASE WHEN time_text IS NULL THEN 'missing_time'
                     WHEN stamp_us > $ingested_ms * 1000 THEN 'future_time'
                     ELSE 'unparseable_time' END
            WHEN symbol IS NULL OR symbol = '' THEN 'missing_symbol'
            WHEN symbol[1] IN ('{{', '[') OR symbol = '*' THEN 'not_a_symbol'
            {faults}
        END AS reject_reason,
    FROM dated
){ruled}
SELECT
    {columns}
FROM {source}"""

    def ruled(self) -> tuple[str, str]:
        """Return the CTEs that apply the kind's rules to lines accepted so far, and the last."""
        if not self.kind.rules:
            return "", "judged"
        values = ", ".join(f"{self.value(c)} AS {c.name}" for c in self.kind.columns)
        names = ", ".join(c.name for c in self.kind.columns)
        whens = " ".join(f"WHEN {rule.sql} THEN {literal(rule.reason)}" for rule in self.kind.rules)
        return (
            f""",
valued AS (
    SELECT *, event_us // 1000 AS event_ms, {values}
    FROM judged
),
settled AS (
    SELECT * EXCLUDE (event_ms, {names}) REPLACE (
        COALESCE(reject_reason, CASE {whens} END) AS reject_reason
    )
    FROM valued
)""",
            "settled",
        )


@lru_cache(maxsize=64)
def query(
    kind: Kind, named: tuple[str, ...], present: frozenset[str] | None, schema: pa.Schema
) -> str:
    """Write the query over ``lines_usual`` (keys in ``present``) or, for None, ``lines_other``.

    ``named`` lists the columns that the file's name can fill; ``schema`` orders and types the rows.
    Bound: account, environment, venue, source_id, source_name, ingest_seq, ingested_ms and
    named_<column>.
    """
    return _Writer(kind, named, present).query(schema)
