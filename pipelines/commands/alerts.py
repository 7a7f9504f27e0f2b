"""`execintel alerts`: what a person should look at, acknowledging it, trying the delivery.

Put here: listing, asking and telling. Keep out: rules (features/sql), delivery (alerts.py).
"""

from typing import Annotated

import typer

from pipelines.commands import common
from pipelines.operator import operator

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="What a person should look at: list, ack, test. Messages go to alert_urls of "
    "execintel.toml after each refresh, once each.",
)


@app.command("list")
def list_alerts() -> None:
    """Show the alerts that are open in the newest snapshot, and who has seen them, when and why.

    Example: execintel alerts list
    """
    from features.acknowledgements import acknowledged
    from pipelines import alerts

    settings = common.load_settings()
    store = common.open_store(settings)
    current = store.resolve(None)
    seen = acknowledged(settings.home)
    found = alerts.open_alerts(store)
    if not found:
        common.say(f"nothing to look at in {current}")
        return
    rows = []
    for alert in found:
        made = seen.get((alert.key, alert.since_ms))
        by = made.by if made else "nobody"
        rows.append((alert.rule, alert.subject, alert.severity, common.when(alert.since_ms), by))
    common.show_table(
        f"Open in {current}", ("rule", "subject", "severity", "since", "seen by"), rows, left=5
    )
    for alert in found:
        common.say(alert.text)
        if made := seen.get((alert.key, alert.since_ms)):
            common.say(f"  {made.words(alert.severity)}")


@app.command()
def ack(
    rule: Annotated[str, typer.Argument(help="Rule of the alert, such as source_stale.")],
    subject: Annotated[
        str,
        typer.Argument(help="Its subject as listed, such as raw_router__events or 'swing LONG'."),
    ],
    note: Annotated[str, typer.Option(help="What you found, such as --note 'disk was full'.")] = "",
) -> None:
    """Say that you have seen an alert: while it stays open it is told only if it grows worse.

    Example: execintel alerts ack source_stale raw_router__events --note "venue maintenance"
    """
    from pipelines import alerts

    settings = common.load_settings()
    found = {alert.key: alert for alert in alerts.open_alerts(common.open_store(settings))}
    alert = found.get(f"{rule} {subject}")
    if alert is None:
        listed = "; ".join(found) or "none"
        raise common.CommandError(f"no open alert {rule} {subject}; there are: {listed}")
    alerts.acknowledge(settings.home, alert, now_ms=common.now_ms(), by=operator(), note=note)
    common.say(f"acknowledged {alert.key}, open since {common.when(alert.since_ms)}")


@app.command()
def test() -> None:
    """Send a test message to every address, and say which took it.

    Example: execintel alerts test

    Exit code 1 when one did not take it, or none is configured.
    """
    from pipelines import alerts

    settings = common.load_settings()
    if not settings.alert_urls:
        raise common.CommandError(
            'no address is configured: set alert_urls = ["mailto://…", "json://host/path"] in '
            "execintel.toml, or EXECINTEL_ALERT_URLS; any service of Apprise will do"
        )
    is_failed = False
    for number, secret in enumerate(settings.alert_urls, start=1):
        problem = alerts.send(
            secret.get_secret_value(),
            f"execintel {settings.environment}: test",
            "This is a test: alerts reach this address.",
            kind="success",
            timeout_s=settings.alert_timeout_s,
        )
        if problem is None:
            common.say(f"address {number} took it")
        else:
            is_failed = True
            common.complain(f"address {number}: {problem}")
    if is_failed:
        raise typer.Exit(1)
