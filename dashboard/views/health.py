"""The page Execution Health."""

from dashboard import panels
from dashboard.data import View


def render(view: View) -> None:
    """Show the page."""
    panels.head("Execution Health", view)
