"""Colors, legends, escaping and embedding shared by all figures."""

import base64
import io
import re

from matplotlib.figure import Figure

from bench.exceptions import printable

# The color-blind-safe palette of Okabe and Ito.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def as_markdown(text: str) -> str:
    """Escapes a text for Markdown, on one line.

    Args:
        text: may contain names from users' files.
    """
    escaped = re.sub(r"([\\`*_\[\]{}|#~$!])", r"\\\1", printable(str(text)))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_label(text: str) -> str:
    """Escapes a text for matplotlib, where `$` would start a formula.

    Args:
        text: may contain names from users' files.
    """
    return text.replace("$", r"\$")


def legend_below(figure: Figure, axes, columns: int, size: int = 8) -> None:
    """Adds one legend for all panels below the figure.

    Args:
        figure: figure with a constrained layout.
        axes: panel whose lines are in the legend.
        columns: number of columns of the legend.
        size: font size, pt.
    """
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=columns,
        fontsize=size,
        frameon=False,
    )


def as_data_url(figure: Figure) -> str:
    """Returns a figure as a data URL with a PNG image.

    Args:
        figure: figure to embed in a page.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
