"""What all figures share: colours, legends, the way into a page."""

import base64
import io
import re

from matplotlib.figure import Figure

from bench.exceptions import printable

# Okabe and Ito's colours, told apart by colour-blind readers.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def as_markdown(text: str) -> str:
    """A text that shows as it is in Markdown, on one line.

    Args:
        text: it may hold names that others chose.
    """
    escaped = re.sub(r"([\\`*_\[\]{}|#~$!])", r"\\\1", printable(str(text)))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_label(text: str) -> str:
    """A text that shows as it is in a figure, where `$` would begin a formula.

    Args:
        text: it may hold names that others chose.
    """
    return text.replace("$", r"\$")


def legend_below(figure: Figure, axes, columns: int, size: int = 8) -> None:
    """One legend for all panels, that of one of them, below the figure.

    Args:
        figure: with a constrained layout.
        axes: whose lines are named.
        columns: of names.
        size: of the text.
    """
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=columns,
        fontsize=size,
        frameon=False,
    )


def as_data_url(figure: Figure) -> str:
    """The figure as PNG text to put into a page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
