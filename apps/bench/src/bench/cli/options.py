"""Options that several commands have."""

from typing import Annotated

import typer

NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache", help="Compile everything; neither load nor store programs."
    ),
]
