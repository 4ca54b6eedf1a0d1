"""The commands `bench train`, `bench split` and `bench eval`."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import NoCache
from bench.exceptions import BenchError
from bench.execution.announcements import announce
from bench.execution.compilation_cache import enable_compilation_cache

GridName = Annotated[str, typer.Argument(help="A grid of bench, or a YAML file.")]
Override = Annotated[
    list[str] | None,
    typer.Option(
        "-o", "--override", help="Changes a setting, such as -o train.epochs=5."
    ),
]


def train_command(
    grid: GridName,
    run: Annotated[
        str, typer.Argument(help="A run of the grid, such as random-mace+les-seed0.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results.  \\[runs/GRID]")
    ] = None,
    override: Override = None,
    distributed: Annotated[
        bool,
        typer.Option(
            "--distributed",
            help="Train in parallel with other processes that run the same command, "
            "found through SLURM or Open MPI.",
        ),
    ] = False,
    coordinator: Annotated[
        str | None,
        typer.Option(
            metavar="NAME:PORT",
            help="Address of the first process, without SLURM and Open MPI.",
        ),
    ] = None,
    num_processes: Annotated[
        int | None, typer.Option(min=1, help="Number of processes.")
    ] = None,
    process_id: Annotated[
        int | None, typer.Option(min=0, help="Index of this process, from 0.")
    ] = None,
    no_cache: NoCache = False,
) -> None:
    """Trains and tests one run of a grid; `bench run` then skips it."""
    if (
        not distributed
        and coordinator is None
        and (
            num_processes,
            process_id,
        )
        != (None, None)
    ):
        raise BenchError(
            "--num-processes and --process-id need --distributed or --coordinator."
        )
    enable_compilation_cache(no_cache)
    from bench.cli.progress import Progress
    from bench.dataset.warnings import warnings_of
    from bench.execution.hosts import is_main_process, join_processes, wait_for_all
    from bench.experiment.grid import claim_folder, output_folder
    from bench.experiment.runner import Failure, GridRunner
    from bench.settings.grid import load_grid

    settings = load_grid(grid, override)
    runs = {r.name: r for r in settings.runs()}
    if run not in runs:
        raise BenchError(f"{grid} has no run {run!r}; it has {', '.join(runs)}.")
    selected = runs[run]
    folder = out or Path("runs") / Path(grid).stem
    if distributed or coordinator is not None:
        join_processes(coordinator, num_processes, process_id)
    with (
        output_folder(folder, settings)
        if is_main_process()
        else contextlib.nullcontext()
    ):
        runner = GridRunner(settings, folder)
        if is_main_process():
            claim_folder(folder, settings)
        wait_for_all("the folder")
    if runner.finished_result(selected) is None:
        with Progress(settings) as progress:
            if is_main_process():
                at_random = selected.split == "random"
                for line in warnings_of(runner.data, split_at_random=at_random):
                    progress.warn(line)
            outcome = runner.run_one(
                selected, lambda row: progress.update(selected, row)
            )
        if isinstance(outcome, Failure):
            raise BenchError(f"{run} failed: {outcome.reason}")
    typer.echo(f"Result: {folder / run / 'result.json'}")


def split_command(
    grid: GridName,
    out: Annotated[Path, typer.Option(help="Folder of the splits.")],
    override: Override = None,
) -> None:
    """Writes the splits of a grid; prints how different training and test sets are."""
    announce("loading libraries")
    from chemsplit import separation

    from bench.dataset.opening import load_for_training
    from bench.experiment.descriptors import stored_descriptors
    from bench.experiment.splits import split_data
    from bench.files import remove_leftovers
    from bench.settings.grid import load_grid

    settings = load_grid(grid, override)
    announce(f"reading {settings.dataset}")
    data = load_for_training(settings.dataset)
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    vectors = stored_descriptors(data, out, settings.split.descriptor)
    for kind in settings.splits:
        for seed in settings.seeds:
            path = out / f"{kind}-seed{seed}.json"
            split = split_data(data, kind, settings.split, seed, lambda _: vectors)
            split.save(path)
            train, validation, test = split.indices(data.ids)
            sizes = f"{len(train)} + {len(validation)} + {len(test)} structures"
            distance = separation(vectors, train, test, groups=data.groups)
            typer.echo(f"{path}: {sizes}; {distance}")


def eval_command(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    data: Annotated[
        str | None, typer.Argument(help="Dataset or file.  \\[dataset of the run]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of results.  \\[RUN/DATA]")
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            help="Also write the mean node features of each structure (.npz)."
        ),
    ] = None,
    no_cache: NoCache = False,
) -> None:
    """Tests a trained model on a dataset."""
    # Checked before predictions, which take minutes.
    if embeddings is not None and embeddings.suffix != ".npz":
        raise BenchError(f"--embeddings is an .npz file, got {embeddings}.")
    if embeddings is not None and not embeddings.parent.is_dir():
        raise BenchError(f"There is no folder {embeddings.parent} for --embeddings.")
    enable_compilation_cache(no_cache)
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
    folder = out or run / Path(source).name.split(".")[0]
    evaluation = evaluate(trained, source, folder, is_training_data=data is None)
    errors = {k: v for k, v in evaluation.errors.items() if v is not None}
    for name, value in errors.items():
        floor = evaluation.floors.get(name)
        floor_text = "" if floor is None else f" (floor {floor:.2f})"
        typer.echo(f"{name:12s} {value:.3f}{floor_text}")
    if evaluation.left_out:
        elements = ", ".join(f"{z} ({n})" for z, n in evaluation.left_out.items())
        typer.echo(
            f"left out, with elements that the model was not trained on: {elements}"
        )
    typer.echo(f"{evaluation.structures} structures: {folder / 'evaluation.json'}")
    if embeddings is not None:
        count = write_embeddings(trained, source, embeddings)
        typer.echo(f"Mean node features of {count} structures: {embeddings}")
