"""The catalog: what the SQL files say of themselves is what they do."""

import re
from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from features import build, catalog, history_store, params
from features.engines import duckdb as engine
from pipelines.intake.kinds import RAW_TABLES
from tests.features.sql import literal

Con = duckdb.DuckDBPyConnection

TABLES = sorted(catalog.tables())
STORED = [name for name in TABLES if not name.startswith("core_window__")]
# What a build or a rebuild sets up beside the stored tables.
SET_UP = {
    "cut_trace_days",
    "cut_trace_paths",
    "edge_hours",
    "param_knots",
    "previous_alerts",
    "previous_memory",
    "raw_sources",
    "rebuild_hours",
    "source_rules",
    "spoken_hours",
}
CUTS = {"from_ms", "known_ms", "longest_ms", "to_ms"}  # bound by who runs the sums
CUT = {"core_execution__hourly", "core_telemetry__daily", "core_telemetry__paths"}
BUILD_VALUES = {"as_of_ms", "window_ms", "is_whole", "environment", "symbol_key", "equity_usd"}
BUILD_VALUES |= {"bar_interval", "bar_ms", "bars_from_ms", "before_state"}


def build_all(con: Con, wanted: build.Plan, *lines: literal.Line) -> dict[str, pa.Schema]:
    """Compute every table over literal lines, in order; returns the schemas that queries give."""
    literal.build_outcomes(con, lines)
    stored = {table.name: literal.run(con, table.name) for table in catalog.stored()}
    assert bool(lines) == all(stored[name].num_rows for name in (literal.OUTCOMES, literal.HOURLY))
    literal.build_window(con, wanted, *lines)
    literal.source_tables_of(con, wanted)
    literal.build_traces(con, wanted)
    schemas = {name: rows.schema for name, rows in stored.items()}
    build.param_knots(con, wanted)
    build.previous_memory(con, wanted)
    values = build.bound_values(wanted)
    for table in catalog.computed():
        rows = literal.run(con, table.name, **values)
        literal.put(con, table.name, rows)
        schemas[table.name] = rows.schema
    return schemas


@pytest.fixture(scope="module")
def empty() -> Iterator[tuple[Con, dict[str, pa.Schema]]]:
    """Return a connection with every table, computed over nothing, and their schemas."""
    with literal.connect() as connection:
        yield connection, build_all(connection, literal.plan(inputs=dict.fromkeys(literal.RAW)))


@pytest.fixture(scope="module")
def filled() -> dict[str, pa.Schema]:
    """Return the schema of every table, computed over a few rows."""
    lines = [literal.router(), literal.order_close(), literal.asked(nav_usd=5.0)]
    wanted = literal.plan(inputs=dict.fromkeys(literal.RAW), equity_usd=1.0)
    with literal.connect() as connection:
        return build_all(connection, wanted, *lines)


@pytest.fixture(scope="module")
def columns(empty: tuple[Con, dict[str, pa.Schema]]) -> dict[str, list[str]]:
    """Return the columns that each stored table's query gives, run over nothing."""
    return {name: schema.names for name, schema in empty[1].items()}


@pytest.mark.parametrize("name", STORED)
def test_every_final_column_has_a_comment(name: str, columns: dict[str, list[str]]) -> None:
    commented = catalog.tables()[name].columns
    assert list(commented) == columns[name]
    assert all(len(words) > 2 for words in commented.values())


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_described_in_whole_sentences(name: str) -> None:
    table = catalog.tables()[name]
    for words in filter(None, (table.what, " ".join(table.notes))):
        assert words[0].isupper()
        assert words.endswith(".")
    assert {"Grain", "Units", "Source"} <= set(table.header)
    assert not re.search(r"[.;,:]{2}|: (;|$)", table.comment)


@pytest.mark.parametrize("name", STORED)
def test_grain_is_of_columns(name: str, columns: dict[str, list[str]]) -> None:
    assert set(catalog.tables()[name].grain) <= set(columns[name])


@pytest.mark.parametrize("name", STORED)
def test_every_amount_says_its_unit(name: str, columns: dict[str, list[str]]) -> None:
    # the comment of a column whose name carries a unit repeats it in words
    words = {"_usd": "USD", "_bps": "bps", "_pct": "percent"}
    for column, comment in catalog.tables()[name].columns.items():
        for ending, unit in words.items():
            if column.endswith(ending):
                assert unit in comment, f"{name}.{column}: {comment}"


def by_parser(sql: str) -> set[str]:
    """Return what a statement reads, by parsing it."""
    tree = sqlglot.parse_one(re.sub(r"--[^\n]*", "", sql), dialect="duckdb")
    named = {table.name for table in tree.find_all(exp.Table)}
    return named - {cte.alias for cte in tree.find_all(exp.CTE)}


@pytest.mark.parametrize("name", TABLES)
def test_inputs_of_a_table_are_what_it_reads(name: str) -> None:
    table = catalog.tables()[name]
    assert set(table.inputs) == by_parser(table.sql)
    assert set(table.inputs) <= {*RAW_TABLES, *TABLES, *SET_UP}


@pytest.mark.parametrize("name", sorted(catalog.checks()))
def test_inputs_of_a_check_are_what_it_reads(name: str) -> None:
    check = catalog.checks()[name]
    assert set(check.inputs) == by_parser(check.sql)
    assert set(check.inputs) <= {*RAW_TABLES, *TABLES, "previous_alerts", "previous_memory"}


@pytest.mark.parametrize("name", TABLES)
def test_source_line_names_what_is_read(name: str) -> None:
    table = catalog.tables()[name]
    named = {part.strip() for part in table.header["Source"].split(",")}
    # what a builder hands in (which hours, which rules) is no source of rows
    assert set(table.inputs) - {"rebuild_hours", "source_rules", "param_knots"} == named


@pytest.mark.parametrize("name", TABLES)
def test_params_line_names_the_parameters(name: str) -> None:
    table = catalog.tables()[name]
    said = table.header.get("Params", "") + table.header.get("Rebuild", "")
    # where no line names it, the parameter is the layer's: hourly counts dust as performance does
    families = tuple(re.findall(r"(\w+_)\*", said))  # regime_* names all that begin so
    unsaid = [p for p in table.params if p not in said and not p.startswith(families or "-")]
    missing = [p for p in unsaid if p not in CUTS | {"environment"}]
    assert name.startswith("core_execution__") or not missing


def test_every_parameter_that_sql_names_is_bound() -> None:
    known = {*params.definitions(), *BUILD_VALUES}
    for table in catalog.tables().values():
        cuts = CUTS if table.name in CUT else set()
        assert set(table.params) <= known | cuts, table.name
    for check in catalog.checks().values():
        assert set(check.params) <= known, check.name


def test_inputs_stand_before_the_tables_that_read_them() -> None:
    order = list(catalog.tables())
    for position, name in enumerate(order):
        read = [each for each in catalog.tables()[name].inputs if each in order]
        assert all(order.index(each) < position for each in read), name


def test_layers_part_the_tables() -> None:
    names = [table.name for prefix in ("core", "feat") for table in catalog.layer(prefix)]
    assert sorted(names) == TABLES
    assert {table.layer for table in catalog.layer("feat")} == {"feat"}


def test_tables_of_the_contract_are_there() -> None:
    assert {
        "core_execution__outcomes",
        "core_execution__hourly",
        "feat_execution__hourly_expectancy",
        "feat_execution__slippage_quartiles",
        "feat_router__effectiveness",
        "feat_router__maker_offsets",
        "feat_router__policies",
        "feat_symbol__atr_regime",
        "feat_symbol__performance",
        "feat_symbol__scores",
        "feat_symbol__sizing",
        "feat_ops__source_freshness",
    } <= set(TABLES)


def test_checks_say_severity_and_cause() -> None:
    for check in catalog.checks().values():
        assert check.severity in ("fail", "hold", "warn"), check.name
        assert len(check.cause) > 20, check.name


def test_table_comment_holds_the_whole_header() -> None:
    table = catalog.tables()["feat_router__effectiveness"]
    assert table.comment.startswith(table.what)
    for label in ("Grain", "Units", "Source", "Params"):
        assert f"{label}: {table.header[label]}" in table.comment


def test_stored_inputs_follow_what_a_build_sets_up() -> None:
    raw = list(RAW_TABLES)
    assert catalog.stored_inputs("feat_ops__source_freshness", raw) == tuple(sorted(raw))
    assert set(catalog.stored_inputs("feat_symbol__performance", raw)) == {
        "core_execution__hourly",
        "core_execution__outcomes",
        "raw_orders__attempts",
    }
    for name in TABLES:
        for stored in catalog.stored_inputs(name, raw):
            assert stored in {*RAW_TABLES, *STORED}, name


@pytest.mark.parametrize("name", sorted(catalog.checks()))
def test_every_check_runs_over_nothing_and_finds_nothing(
    empty: tuple[Con, dict[str, pa.Schema]], name: str
) -> None:
    check, values = catalog.checks()[name], build.bound_values(literal.plan())
    found = engine.run(empty[0], check.sql, engine.bind(check.sql, check.params, values))
    assert found.fetchall() == []


@pytest.mark.parametrize("name", STORED)
def test_every_column_has_one_type_over_nothing_and_over_rows(
    empty: tuple[Con, dict[str, pa.Schema]], filled: dict[str, pa.Schema], name: str
) -> None:
    # a table without rows must not hand out other types: readers and digests see them
    assert filled[name].types == empty[1][name].types


def test_a_column_has_one_type_in_every_table_that_the_history_keeps(
    empty: tuple[Con, dict[str, pa.Schema]],
) -> None:
    # the history stands in one table: a name of two types would stop every refresh
    types: dict[str, dict[str, list[str]]] = {}
    for table in catalog.computed():
        for field in empty[1][table.name]:
            kind = str(history_store.stored_type(field.type))
            types.setdefault(field.name, {}).setdefault(kind, []).append(table.name)
    assert {name: found for name, found in types.items() if len(found) > 1} == {}
