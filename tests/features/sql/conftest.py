"""One connection for all tests of the SQL files: each test replaces every table it reads."""

from collections.abc import Iterator

import duckdb
import pytest

from tests.features.sql import literal


@pytest.fixture(scope="session")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """Return a connection as a build opens it."""
    with literal.connect() as connection:
        yield connection
