"""The command line: describe, split, report and map structures in files."""

import dataclasses
import json
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._command_group import CommandGroup, run_app, say

if TYPE_CHECKING:
    from ._description import Description

app = typer.Typer(
    cls=CommandGroup,
    help="Train/test splits that test generalisation over chemical space.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Data = Annotated[
    list[Path],
    typer.Argument(
        help='A description (".npz", from `describe`) or files of structures, which '
        "are described by SOAP first."
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write.")]
IdKey = Annotated[
    str | None, typer.Option(help="Entry of a structure's info that is its id.")
]
GroupKey = Annotated[
    str | None,
    typer.Option(help='Entry of its info that is its group, or "file".'),
]


class Kind(StrEnum):
    """Kinds of descriptor."""

    SOAP = "soap"
    MBTR = "mbtr"
    COMPOSITION = "composition"


class Cut(StrEnum):
    """Kinds of split."""

    RANDOM = "random"
    SIZE = "size"
    CLUSTER = "cluster"
    SEED = "seed-similarity"
    MAXIMAL = "max-separation"
    SEPARATED = "separated"


class Method(StrEnum):
    """Projections."""

    PCA = "pca"
    UMAP = "umap"


class Colour(StrEnum):
    """What a map's colours mean."""

    SPLIT = "split"
    CLUSTER = "cluster"
    ELEMENT = "element"
    VALUES = "values"


class Criterion(StrEnum):
    """What `separated` keeps small."""

    MEAN = "mean"
    NEAREST = "nearest"


class Periodic(StrEnum):
    """Whether images of the atoms count."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"


@app.command()
def describe(
    files: Annotated[list[Path], typer.Argument(help="Files that ASE can read.")],
    out: Out,
    descriptor: Kind = Kind.SOAP,
    r_cut: Annotated[float | None, typer.Option(help="Cutoff, Å.")] = None,
    compression: Annotated[
        str, typer.Option(help='SOAP only: "off" or "same-element".')
    ] = "off",
    periodic: Periodic = Periodic.AUTO,
    jobs: Annotated[int, typer.Option(help="Processes; -1 for all cores.")] = -1,
    store: Annotated[
        Path | None, typer.Option(help="Folder of finished rows, to resume from.")
    ] = None,
    id_key: IdKey = None,
    group_key: GroupKey = None,
) -> None:
    """Describe structures and write one ".npz" file."""
    from . import _commands
    from ._description import place

    place(out)
    data = _commands.described(
        files,
        _commands.descriptor(descriptor, r_cut=r_cut, compression=compression),
        keys=(id_key, group_key),
        periodic={"auto": "auto", "yes": True, "no": False}[periodic],
        n_jobs=jobs,
        store=store,
    )
    data.save(out)
    typer.echo(f"{out}: {len(data.ids)} structures.")


@app.command()
def split(
    data: Data,
    out: Out,
    kind: Cut = Cut.CLUSTER,
    test: Annotated[float, typer.Option(help="Share of the test part.")] = 0.5,
    validation: Annotated[
        float, typer.Option(help="Share of the training part for validation.")
    ] = 0.1,
    seed: int = 0,
    clusters: Annotated[int, typer.Option(help="cluster: how many.")] = 20,
    max_train: Annotated[
        int | None,
        typer.Option(help="size: most atoms in training, not a share."),
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(help="seed-similarity: random candidates a step.")
    ] = None,
    criterion: Annotated[
        Criterion, typer.Option(help="separated: what is kept small.")
    ] = Criterion.MEAN,
    id_key: IdKey = None,
    group_key: GroupKey = None,
) -> None:
    """Split a data set and write the ids of the parts as JSON."""
    from . import _commands
    from ._draft import require_folder

    require_folder(out)
    found = _load(data, id_key, group_key)
    splitter = _commands.splitter(
        kind,
        test,
        grouped=found.groups is not None,
        clusters=clusters,
        max_train=max_train,
        candidates=candidates,
        criterion=criterion.value,
    )
    made = _commands.split(splitter, found, kind, seed=seed, validation=validation)
    made.save(out)
    parts = (made.train, made.validation, made.test)
    typer.echo(
        "{}: {} training, {} validation and {} test structures.".format(
            out, *map(len, parts)
        )
    )


@app.command()
def report(
    data: Data,
    split: Annotated[Path, typer.Option(help="A file written by `split`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    id_key: IdKey = None,
    group_key: GroupKey = None,
) -> None:
    """Say what leaks across a split and what is new in its test part."""
    from . import _commands

    found = _commands.report(_load(data, id_key, group_key), split)
    if as_json:
        facts = dataclasses.asdict(found) | {"verdict": found.verdict}
        typer.echo(json.dumps(facts, indent=1))
    else:
        typer.echo(str(found))


@app.command("map")
def draw(
    data: Data,
    out: Out,
    split: Annotated[
        list[Path] | None,
        typer.Option(help="A file written by `split`; several are drawn side by side."),
    ] = None,
    colour: Colour = Colour.SPLIT,
    values: Annotated[
        Path | None, typer.Option(help='Lines of "id,number", such as errors.')
    ] = None,
    value_label: Annotated[str, typer.Option(help="What the numbers are.")] = "value",
    clusters: Annotated[int, typer.Option(help="cluster: how many.")] = 20,
    method: Method = Method.PCA,
    title: str | None = None,
    id_key: IdKey = None,
    group_key: GroupKey = None,
) -> None:
    """Draw chemical space, coloured by split, cluster, element or a number."""
    from . import _commands
    from ._draft import draft

    _commands.check_figure(out)
    found = _load(data, id_key, group_key)
    figure = _commands.figure(
        found,
        split or [],
        colour,
        values=None if values is None else _commands.read_values(values, found.ids),
        value_label=value_label,
        n_clusters=clusters,
        method=method.value,
        title=title,
    )
    with draft(out) as written:
        figure.savefig(written, dpi=300)
    typer.echo(f"{out}: {len(found.ids)} structures.")


def _load(
    paths: list[Path], id_key: str | None, group_key: str | None
) -> "Description":
    """Load a description, or make one of structures."""
    from . import _commands
    from ._description import Description

    if len(paths) == 1 and paths[0].suffix == ".npz":
        return Description.load(paths[0])
    return _commands.described(
        paths, _commands.descriptor(Kind.SOAP), keys=(id_key, group_key)
    )


def main() -> None:
    """Run the command line; a failure is one sentence and a status that is not zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _warn
        run_app(app)


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    say(f"warning: {message}")
