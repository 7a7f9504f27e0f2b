"""The page Execution Intelligence."""

from dashboard import panels
from dashboard.data import View


def render(view: View) -> None:
    """Show the page."""
    panels.head("Execution Intelligence", view)
