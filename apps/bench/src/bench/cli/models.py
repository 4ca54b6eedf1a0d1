"""The commands `bench train`, `bench split` and `bench eval`: parts of a grid alone."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from bench.exceptions import BenchError
from bench.execution.announcements import announce

GridName = Annotated[str, typer.Argument(help="A grid of bench, or a YAML file.")]
Override = Annotated[
    list[str] | None,
    typer.Option("-o", "--override", help="A setting, such as -o train.epochs=5."),
]


def train_command(
    grid: GridName,
    run: Annotated[
        str, typer.Argument(help="One of its runs, such as random-mace+les-seed0.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the grid.")] = None,
    override: Override = None,
    together: Annotated[
        bool,
        typer.Option(
            "--together",
            help="With other processes, on this machine or others, that run the same "
            "command; SLURM and Open MPI say which.",
        ),
    ] = False,
    coordinator: Annotated[
        str | None,
        typer.Option(metavar="NAME:PORT", help="Of the first one, elsewhere."),
    ] = None,
    hosts: Annotated[int | None, typer.Option(min=1, help="How many.")] = None,
    host: Annotated[int | None, typer.Option(min=0, help="This one, from 0.")] = None,
) -> None:
    """Trains and tests one run of a grid; `bench run` skips it and reports it later."""
    if not together and coordinator is None and (hosts, host) != (None, None):
        raise BenchError("--hosts and --host need --together or --coordinator.")
    from bench.cli.progress import Progress
    from bench.dataset.warnings import warnings_of
    from bench.execution.hosts import is_main_process, join_hosts, wait_for_all
    from bench.experiment.grid import claim, output_folder
    from bench.experiment.run import Failure, Workplace
    from bench.settings.grid import load_grid

    settings = load_grid(grid, override)
    chosen = {one.name: one for one in settings.runs()}
    if run not in chosen:
        raise BenchError(f"{grid} has no run {run!r}; it has {', '.join(chosen)}.")
    own = chosen[run]
    folder = out or Path("runs") / Path(grid).stem
    if together or coordinator is not None:
        join_hosts(coordinator, hosts, host)
    with (
        output_folder(folder, settings)
        if is_main_process()
        else contextlib.nullcontext()
    ):
        place = Workplace(settings, folder)
        if is_main_process():
            claim(folder, settings)
        wait_for_all("the folder")
    if place.finished(own) is None:
        with Progress(settings) as progress:
            if is_main_process():
                at_random = own.split == "random"
                for sentence in warnings_of(place.data, split_at_random=at_random):
                    progress.warn(sentence)
            made = place.attempt(own, lambda row: progress.tell(own, row))
        if isinstance(made, Failure):
            raise BenchError(f"{run} failed: {made.reason}")
    typer.echo(f"Result: {folder / run / 'result.json'}")


def split_command(
    grid: GridName,
    out: Annotated[Path, typer.Option(help="Folder of the splits.")],
    override: Override = None,
) -> None:
    """Writes the splits of a grid, and says how far apart their parts are."""
    announce("loading libraries")
    from chemsplit import separation

    from bench.dataset.opening import load_for_training
    from bench.experiment.splits import split_data, stored_descriptors
    from bench.files import remove_leftovers
    from bench.settings.grid import load_grid

    settings = load_grid(grid, override)
    announce(f"reading {settings.dataset}")
    data = load_for_training(settings.dataset)
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    vectors = stored_descriptors(data, out)
    for kind in settings.splits:
        for seed in settings.seeds:
            path = out / f"{kind}-seed{seed}.json"
            split = split_data(data, vectors, kind, settings.split, seed)
            split.save(path)
            train, validation, test = split.indices(data.ids)
            sizes = f"{len(train)} + {len(validation)} + {len(test)} structures"
            found = separation(vectors, train, test, groups=data.groups)
            typer.echo(f"{path}: {sizes}; {found}")


def eval_command(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    data: Annotated[
        str | None, typer.Argument(help="Data set or file.  \\[the run's own]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of results.  \\[RUN/DATA]")
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Also write mean node features by id, for chemsplit (.npz)."),
    ] = None,
) -> None:
    """Tests a trained model on data again."""
    # Before minutes of predictions.
    if embeddings is not None and embeddings.suffix != ".npz":
        raise BenchError(f"--embeddings is an .npz file, got {embeddings}.")
    if embeddings is not None and not embeddings.parent.is_dir():
        raise BenchError(f"There is no folder {embeddings.parent} for --embeddings.")
    announce("loading JAX")
    from bench.evaluation.trained import (
        evaluate,
        load_trained_model,
        training_dataset,
        write_embeddings,
    )

    announce(f"opening {run}")
    trained = load_trained_model(run)
    source = data or training_dataset(run)
    place = out or run / Path(source).name.split(".")[0]
    found = evaluate(trained, source, place, own=data is None)
    told = {k: v for k, v in found.errors.items() if v is not None}
    for name, value in told.items():
        floor = found.floors.get(name)
        beside = "" if floor is None else f" (floor {floor:.2f})"
        typer.echo(f"{name:12s} {value:.3f}{beside}")
    if found.left_out:
        named = ", ".join(f"{z} ({n})" for z, n in found.left_out.items())
        typer.echo(f"left out for elements the model does not know: {named}")
    typer.echo(f"{found.structures} structures: {place / 'evaluation.json'}")
    if embeddings is not None:
        count = write_embeddings(trained, source, embeddings)
        typer.echo(f"Mean node features of {count} structures: {embeddings}")
