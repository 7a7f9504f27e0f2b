"""`execintel quarantine`: the lines that were rejected, why, and how to mend them.

Put here: counting and quoting. Keep out: the advice itself (features/reasons.py).
"""

from typing import Annotated

import typer

from pipelines.commands import common

_EXCERPT_CHARS = 160


def quarantine(
    source: Annotated[
        str | None,
        typer.Option(help="Only this raw table, such as --source raw_orders__events."),
    ] = None,
    limit: Annotated[
        int, typer.Option(help="Example lines of each reason, such as --limit 10.", min=0)
    ] = 3,
) -> None:
    """Show rejected lines by table and reason: how many, examples with file and offset, the mend.

    Example: execintel quarantine --source raw_orders__events --limit 5

    Rejected lines stay in the raw tables (reject_reason, raw_line), secrets redacted.
    """
    from features.engines import duckdb as engine
    from features.lake import Lake
    from features.reasons import mending
    from pipelines.intake.kinds import RAW_TABLES

    if source is not None and source not in RAW_TABLES:
        raise common.CommandError(f"--source {source}: there are {', '.join(RAW_TABLES)}")
    settings = common.load_settings()
    lake = Lake(settings.lake_root)
    total = 0
    for name in RAW_TABLES if source is None else (source,):
        if not lake.exists(name):
            continue
        with engine.connect(
            memory_limit_mb=settings.memory_limit_mb, spill=settings.spill_root
        ) as con:
            engine.create_view(con, name, lake.open(name))
            reasons = con.sql(
                f"SELECT reject_reason, COUNT(*) AS n FROM {name}"
                " WHERE reject_reason IS NOT NULL GROUP BY ALL ORDER BY n DESC, reject_reason"
            ).fetchall()
            for reason, count in reasons:
                total += count
                common.say(f"{name}: {count} × {reason}", style="bold")
                common.say(f"    mend: {mending(reason)}")
                examples = con.sql(
                    f"SELECT source_name, line_offset, raw_line FROM {name}"
                    " WHERE reject_reason = $reason"
                    " ORDER BY ingest_seq DESC, source_name, line_offset LIMIT $limit",
                    params={"reason": reason, "limit": limit},
                ).fetchall()
                for file, offset, line in examples:
                    common.say(f"    {file}, offset {offset}: {_excerpt(line)}")
    if not total:
        where = f" in {source}" if source else ""
        common.say(f"no rejected line{where} under {lake.root}")


def _excerpt(line: str | None) -> str:
    """Quote the beginning of a line so that it cannot move the cursor or break the row."""
    if line is None:
        return common.UNKNOWN
    quoted = "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)
    return quoted if len(quoted) <= _EXCERPT_CHARS else quoted[:_EXCERPT_CHARS] + "…"
