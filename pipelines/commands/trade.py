"""`execintel live`, `backtest` and `audit`: programs of their own, under one command.

Put here: handing words through. Keep out: their flags, which they explain themselves.
"""

import typer

THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def live(context: typer.Context) -> None:
    """Trade on paper by the loop that trades live (as python -m live.engine; see live --help).

    Example: execintel live --symbols BTCUSDT --bars bars --strategy both --enable-telemetry
    """
    from live.run import main

    raise typer.Exit(main(context.args, prog="execintel live"))


def backtest(context: typer.Context) -> None:
    """Replay bars through the live engine (as python -m live.backtest; see backtest --help).

    Example: execintel backtest --symbols BTCUSDT --bars bars --seed 7 --enable-telemetry
    """
    from live.backtest import main

    raise typer.Exit(main(context.args, prog="execintel backtest"))


def audit(context: typer.Context) -> None:
    """Backtest symbols in parallel processes, one summary of accuracy (see audit --help).

    Example: execintel audit --symbols BTCUSDT ETHUSDT --strategies intraday swing --bars bars
    """
    from pipelines.audit import main

    raise typer.Exit(main(context.args))
