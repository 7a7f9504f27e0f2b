"""How to mend a rejected line: one sentence a reason, for the person who writes the log.

Put here: advice. Keep out: deciding what is rejected (pipelines/intake).
"""

_TIME = "epoch seconds, milliseconds or ISO 8601"

# A reason may name a field after a colon: not_a_number:prices.mark.
MENDING: dict[str, str] = {
    "line_too_long": "A line holds more than 10 MiB: write one object a line, "
    "each with its newline.",
    "too_complex": "A line above 1 MiB holds more than 100,000 values: write one object a line.",
    "not_utf8": "The line holds bytes that are not UTF-8: let the writer encode as UTF-8, "
    "and look for a disk that tears blocks.",
    "blank_line": "The line is empty: harmless; let the writer end each line with one newline.",
    "not_json": "The line is no JSON object: two writers without a lock, or a crash in mid-line, "
    "glue and cut lines; give each process its own file, or write each line in one call.",
    "not_csv": "The line has another number of cells than the header: quote cells that hold a "
    "comma, and start a new file when columns change.",
    "missing_header": "The first line of the file names no column of time: write the column names "
    "there, as date,open,high,low,close,volume.",
    "not_an_object": "The line, or the named field, is JSON but no object: write it as {…}.",
    "missing_time": f"The line has no time: write ts as {_TIME}.",
    "future_time": "The time is more than a day ahead of when the line was read: "
    "set the writer's clock (NTP).",
    "unparseable_time": "The time is no epoch number, no ISO 8601 text, or before 1980: "
    f"write ts as {_TIME}.",
    "missing_symbol": "The line names no symbol, nor does raw.symbol: let the writer add symbol.",
    "not_a_symbol": "The symbol is a list, an object or *: write it as text, such as BTCUSDT.",
    "not_a_number": "The named field is present and no number: write a number, or leave the field "
    "out where it is unknown.",
    "negative": "The named price, quantity or amount is below 0: write its size, and the direction "
    "in side.",
    "missing_strategy": "The trace names no strategy (or *): name it in the line, or in the file "
    "as traces_intraday_0.csv.",
    "unknown_direction": "The named direction is none of LONG, SHORT, NOOP: let the writer spell "
    "it so. A prediction still open has neither actual_direction nor exit_price.",
    "missing_exit": "The trace has an outcome and no exit_price: write both when the position "
    "closes, neither before.",
    "missing_return": "The trace has an exit and no realized_return_pct: write it, 0 for NOOP.",
    "confidence_out_of_range": "predicted_confidence is outside 0 to 1: write a probability, "
    "or leave the field out.",
    "sampling_out_of_range": "metadata.inclusion_probability is not above 0 and at most 1, or "
    "metadata.throttled_before below 0: write what the sampling did, or leave them out.",
    "impossible_holding_time": "The trace ends more than a day after it was read, or does not say "
    "how long it was held: write holding_period_minutes, in minutes.",
    "impossible_return": "realized_return_pct is 10000 percent or more: write percent of the "
    "position, 1.5 for 1.5 %.",
    "not_a_time": f"The named time is no time: write {_TIME}, or leave it out.",
}


def mending(reason: str) -> str:
    """Return how to mend what ``reason`` names; KeyError for a reason that has no advice."""
    return MENDING[reason.partition(":")[0]]
