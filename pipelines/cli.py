"""The `execintel` command: assembles what pipelines/commands holds.

Put here: names of commands. Keep out: anything they do.
"""

import io
import sys

import typer

from pipelines.commands import alerts, common, controls, params, snapshots
from pipelines.commands.asof import asof
from pipelines.commands.dashboard import dashboard
from pipelines.commands.demo import demo
from pipelines.commands.doctor import doctor
from pipelines.commands.explain import explain
from pipelines.commands.export_metrics import export_metrics
from pipelines.commands.mirror import mirror
from pipelines.commands.operate import up, upkeep
from pipelines.commands.quarantine import quarantine
from pipelines.commands.reconcile import reconcile
from pipelines.commands.refresh import refresh
from pipelines.commands.show import show
from pipelines.commands.sql import sql
from pipelines.commands.trade import THROUGH, audit, backtest, live

app = typer.Typer(
    name="execintel",
    cls=common.PlainGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # paragraphs of docstrings are wrapped anew
    help="Execution intelligence from the logs of a trading router: per symbol and hour, what "
    "trading cost and earned, in immutable snapshots. Start with: execintel demo. "
    "Settings: EXECINTEL_HOME, EXECINTEL_LOG_DIR and docs/configuration.md.",
)
app.command()(demo)
app.command()(refresh)
app.command()(show)
app.command()(explain)
app.command()(asof)
app.command()(sql)
app.command()(reconcile)
app.command()(dashboard)
app.command()(export_metrics)
app.command()(doctor)
app.command()(quarantine)
app.add_typer(alerts.app, name="alerts")
app.add_typer(snapshots.app, name="snapshots")
app.add_typer(params.app, name="params")
app.command(context_settings=THROUGH)(live)
app.command(context_settings=THROUGH)(backtest)
app.command()(controls.kill)
app.command()(controls.reduce_only)
app.command()(controls.resume)
app.command()(controls.disable)
app.command()(controls.enable)
app.command()(mirror)
app.command(context_settings=THROUGH)(audit)
app.command()(upkeep)
app.command()(up)


def main() -> None:
    """Run the command of this process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of other letters gets ? for an arrow
    app()


if __name__ == "__main__":
    main()
