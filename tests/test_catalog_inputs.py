"""The catalog learns what a SQL file reads without parsing it; sqlglot says whether it is right."""

import pytest
import sqlglot
from sqlglot import exp

from features import catalog

FILES: dict[str, catalog.Table | catalog.Check] = {**catalog.tables(), **catalog.checks()}


@pytest.mark.parametrize("name", sorted(FILES))
def test_inputs_are_the_tables_that_the_parsed_query_reads(name: str) -> None:
    file = FILES[name]
    tree = sqlglot.parse_one(file.sql, dialect="duckdb")
    defined = {cte.alias for cte in tree.find_all(exp.CTE)}
    read = {table.name for table in tree.find_all(exp.Table)} - defined
    assert set(file.inputs) == read
