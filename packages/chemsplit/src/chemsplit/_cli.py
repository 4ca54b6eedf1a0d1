"""Command line: describe, split, report and map structures in files."""

import dataclasses
import json
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._command_group import CommandGroup, print_message, run_app

if TYPE_CHECKING:
    from ._descriptor_table import DescriptorTable

app = typer.Typer(
    cls=CommandGroup,
    help="Train/test splits that measure generalization over chemical space.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Data = Annotated[
    list[Path],
    typer.Argument(
        help='A table of descriptors (".npz", from `describe`), or files of '
        "structures, for which mean SOAP descriptors are computed first."
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write.")]
IdKey = Annotated[
    str | None,
    typer.Option(help="Key of `atoms.info` with the id; default: the file name."),
]
GroupKey = Annotated[
    str | None,
    typer.Option(
        help='Key of `atoms.info` with the group, or "file"; default: no groups.'
    ),
]


class DescriptorKind(StrEnum):
    """Descriptors that `describe` computes."""

    MEAN_SOAP = "mean-soap"
    MBTR = "mbtr"
    COMPOSITION = "composition"


class SplitKind(StrEnum):
    """Splits that `split` makes."""

    RANDOM = "random"
    SIZE = "size"
    CLUSTER = "cluster"
    SEED_SIMILARITY = "seed-similarity"
    MAX_MIN = "max-min"
    SEPARATED = "separated"


class Projection(StrEnum):
    """Projections to two dimensions."""

    PCA = "pca"
    UMAP = "umap"


class ColorBy(StrEnum):
    """Quantities shown by the color of a point."""

    SPLIT = "split"
    CLUSTER = "cluster"
    ELEMENT = "element"
    VALUES = "values"


class Criterion(StrEnum):
    """Similarities that the separated split minimizes."""

    MEAN = "mean"
    NEAREST = "nearest"


class Periodic(StrEnum):
    """Whether periodic images of the atoms are included."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"


@app.command()
def describe(
    files: Annotated[list[Path], typer.Argument(help="Files that ASE can read.")],
    out: Out,
    descriptor: Annotated[
        DescriptorKind, typer.Option(help="Descriptor to compute.")
    ] = DescriptorKind.MEAN_SOAP,
    r_cut: Annotated[
        float | None,
        typer.Option(help="mean-soap and mbtr: cutoff, Å; default: 4 and 8."),
    ] = None,
    compression: Annotated[
        str, typer.Option(help='mean-soap: "off" or "same-element".')
    ] = "off",
    periodic: Annotated[
        Periodic,
        typer.Option(help="Include periodic images; auto: as `atoms.pbc` states."),
    ] = Periodic.AUTO,
    jobs: Annotated[int, typer.Option(help="Processes; -1 for all cores.")] = -1,
    store: Annotated[
        Path | None,
        typer.Option(help="Folder of computed rows, to resume an interrupted call."),
    ] = None,
    id_key: IdKey = None,
    group_key: GroupKey = None,
) -> None:
    """Compute descriptors of structures and write them to one ".npz" file."""
    from . import _commands
    from ._descriptor_table import check_path

    check_path(out)
    table = _commands.describe_files(
        files,
        _commands.make_descriptor(descriptor, r_cut=r_cut, compression=compression),
        keys=(id_key, group_key),
        periodic={"auto": "auto", "yes": True, "no": False}[periodic],
        n_jobs=jobs,
        store=store,
    )
    table.save(out)
    typer.echo(f"{out}: {len(table.ids)} structures.")


@app.command()
def split(
    data: Data,
    out: Out,
    kind: Annotated[SplitKind, typer.Option(help="Split to make.")] = SplitKind.CLUSTER,
    test_fraction: Annotated[
        float, typer.Option(help="Fraction of structures in the test set.")
    ] = 0.5,
    validation_fraction: Annotated[
        float, typer.Option(help="Fraction of the training set used for validation.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    clusters: Annotated[int, typer.Option(help="cluster: number of clusters.")] = 20,
    max_train: Annotated[
        int | None,
        typer.Option(
            help="size: largest number of atoms in the training set, in place of the "
            "test fraction."
        ),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            help="seed-similarity: number of random candidates for each test "
            "structure; default: all."
        ),
    ] = None,
    criterion: Annotated[
        Criterion,
        typer.Option(
            help="separated: minimize the mean similarity of all test-training pairs, "
            "or the similarity to the nearest training structure."
        ),
    ] = Criterion.MEAN,
    id_key: IdKey = None,
    group_key: GroupKey = None,
) -> None:
    """Split a data set and write the ids of each set as JSON."""
    from . import _commands
    from ._atomic_write import require_folder

    require_folder(out)
    table = _load_descriptors(data, id_key, group_key)
    splitter = _commands.make_splitter(
        kind,
        test_fraction,
        grouped=table.groups is not None,
        n_clusters=clusters,
        max_train=max_train,
        n_candidates=candidates,
        criterion=criterion.value,
    )
    split = _commands.split(
        splitter, table, kind, seed=seed, validation_fraction=validation_fraction
    )
    split.save(out)
    sizes = map(len, (split.train, split.validation, split.test))
    typer.echo(
        "{}: {} training, {} validation and {} test structures.".format(out, *sizes)
    )


@app.command()
def report(
    data: Data,
    split: Annotated[Path, typer.Option(help="File written by `split`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    id_key: IdKey = None,
    group_key: GroupKey = None,
) -> None:
    """Report leakage and the similarity between test and training set."""
    from . import _commands

    leakage = _commands.report(_load_descriptors(data, id_key, group_key), split)
    if as_json:
        content = dataclasses.asdict(leakage) | {"verdict": leakage.verdict}
        typer.echo(json.dumps(content, indent=1))
    else:
        typer.echo(str(leakage))


@app.command("map")
def plot(
    data: Data,
    out: Out,
    split: Annotated[
        list[Path] | None,
        typer.Option(
            help="File written by `split`; repeat the option for several splits side "
            "by side."
        ),
    ] = None,
    color_by: Annotated[
        ColorBy, typer.Option(help="Quantity shown by color.")
    ] = ColorBy.SPLIT,
    values: Annotated[
        Path | None, typer.Option(help='Lines of "id,number", such as errors.')
    ] = None,
    value_label: Annotated[str, typer.Option(help="Label of the color bar.")] = "value",
    clusters: Annotated[int, typer.Option(help="cluster: number of clusters.")] = 20,
    method: Annotated[Projection, typer.Option(help="Projection.")] = Projection.PCA,
    title: Annotated[str | None, typer.Option(help="Title of the figure.")] = None,
    id_key: IdKey = None,
    group_key: GroupKey = None,
) -> None:
    """Plot chemical space, colored by split, cluster, element or a number."""
    from . import _commands
    from ._atomic_write import atomic_write

    _commands.check_figure(out)
    table = _load_descriptors(data, id_key, group_key)
    figure = _commands.make_figure(
        table,
        split or [],
        color_by,
        values=None if values is None else _commands.read_values(values, table.ids),
        value_label=value_label,
        n_clusters=clusters,
        method=method.value,
        title=title,
    )
    with atomic_write(out) as temporary:
        figure.savefig(temporary, dpi=300)
    typer.echo(f"{out}: {len(table.ids)} structures.")


def _load_descriptors(
    paths: list[Path], id_key: str | None, group_key: str | None
) -> "DescriptorTable":
    """Load a table of descriptors, or compute one from files of structures."""
    from . import _commands
    from ._descriptor_table import DescriptorTable

    if len(paths) == 1 and paths[0].suffix == ".npz":
        return DescriptorTable.load(paths[0])
    descriptor = _commands.make_descriptor(DescriptorKind.MEAN_SOAP)
    return _commands.describe_files(paths, descriptor, keys=(id_key, group_key))


def main() -> None:
    """Run the command line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _show_warning
        run_app(app)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print_message(f"warning: {message}")
