"""The command `bench prepare`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.exceptions import BenchError, Interrupted

if TYPE_CHECKING:
    from bench.dataset.request import PreparationRequest

Key = Annotated[
    str | None, typer.Option(metavar="KEY", rich_help_panel="Keys and units")
]


def prepare_command(
    source: Annotated[
        str | None,
        typer.Argument(help="A file, a folder, or a pattern in quotes."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the dataset.")] = None,
    published: Annotated[
        bool,
        typer.Option(
            "--published", help="List download pages of published datasets, and exit."
        ),
    ] = False,
    recipe: Annotated[
        str | None, typer.Option(help="Published subset: qmof, odac25 or omol25.")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="Format, if file names do not show it.")
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Stop at the first structure that cannot be used."
        ),
    ] = False,
    atomic_energies: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="YAML file of atomic energies, eV; `atoms` uses isolated atoms of the "
            "source.  \\[fitted to training data]",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Read one of N shards; a call without it merges them."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Reading processes.  \\[all cores]")
    ] = None,
    submit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Submit N shards as cluster jobs."),
    ] = None,
    submit_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="An option of submitit, such as timeout_min=60."
        ),
    ] = None,
    energy_key: Key = None,
    forces_key: Key = None,
    stress_key: Key = None,
    virial_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="In place of the stress: minus the stress times the volume.",
            rich_help_panel="Keys and units",
        ),
    ] = None,
    charges_key: Key = None,
    total_charge_key: Key = None,
    spin_key: Key = None,
    tags_key: Key = None,
    dipole_key: Key = None,
    born_charges_key: Key = None,
    id_key: Key = None,
    group_key: Key = None,
    energy_unit: Annotated[str, typer.Option(rich_help_panel="Keys and units")] = "eV",
    length_unit: Annotated[
        str, typer.Option(rich_help_panel="Keys and units")
    ] = "angstrom",
    stress_unit: Annotated[
        str | None,
        typer.Option(
            help="GPa, kbar or eV/Å^3.  \\[energy over length cubed]",
            rich_help_panel="Keys and units",
        ),
    ] = None,
    dipole_origin: Annotated[
        str | None,
        typer.Option(
            help="Origin of dipoles of charged structures: mass or coordinates.",
            rich_help_panel="Keys and units",
        ),
    ] = None,
    born_transposed: Annotated[
        bool,
        typer.Option(
            "--born-transposed",
            help="Born charges are stored as \\[displacement, polarization].",
            rich_help_panel="Keys and units",
        ),
    ] = False,
    total_charge: Annotated[
        list[float] | None,
        typer.Option(
            help="Keep structures with this total charge, e.", rich_help_panel="Filters"
        ),
    ] = None,
    spin: Annotated[
        list[int] | None,
        typer.Option(
            help="Keep structures with this multiplicity.", rich_help_panel="Filters"
        ),
    ] = None,
    min_atoms: Annotated[int, typer.Option(rich_help_panel="Filters")] = 1,
    max_atoms: Annotated[int | None, typer.Option(rich_help_panel="Filters")] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            help="Keep structures with this label.", rich_help_panel="Filters"
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Do not store this label.", rich_help_panel="Filters"),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Draw this number of structures at random, last.",
            rich_help_panel="Filters",
        ),
    ] = None,
) -> None:
    """Converts a source to a dataset on disk; resumes where an earlier call stopped."""
    from bench.dataset.filters import Filters
    from bench.dataset.preparing import prepare
    from bench.dataset.request import PreparationRequest, Shard
    from bench.execution.workers import available_cores
    from bench.sources import ReadOptions
    from bench.sources.published import describe_published

    if published:
        typer.echo(describe_published())
        return
    if source is None or out is None:
        raise BenchError(
            "Source and output folder are missing: bench prepare SOURCE --out FOLDER; "
            "`bench prepare --published` lists published datasets."
        )
    keys = dict(
        energy=energy_key,
        forces=forces_key,
        stress=stress_key,
        virial=virial_key,
        charges=charges_key,
        total_charge=total_charge_key,
        spin=spin_key,
        tags=tags_key,
        dipole=dipole_key,
        born_charges=born_charges_key,
        id=id_key,
        group=group_key,
    )
    filters = Filters(
        recipe=recipe,
        total_charges=tuple(total_charge or ()),
        spins=tuple(spin or ()),
        min_atoms=min_atoms,
        max_atoms=max_atoms,
        require=tuple(require or ()),
        without=tuple(without or ()),
        sample=sample,
    )
    read_options = ReadOptions(
        {label: key for label, key in keys.items() if key is not None},
        energy_unit=energy_unit,
        length_unit=length_unit,
        stress_unit=stress_unit,
        dipole_origin=dipole_origin,
        born_transposed=born_transposed,
    )
    request = PreparationRequest(
        source, read_options, filters, format, strict, atomic_energies
    )
    if submit is not None:
        _submit(request, out, submit, submit_option or [])
        return
    start = time.perf_counter()
    try:
        header = prepare(
            request,
            out,
            shard=None if shard is None else Shard.parse(shard),
            workers=workers or available_cores(),
            callback=_progress(),
        )
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted; finished parts are saved, and the same command resumes."
        ) from None
    seconds = time.perf_counter() - start
    if header is None:
        typer.echo(
            f"Shard {shard} is read; the same command without --shard merges all."
        )
        return
    _report(out, header["read"], seconds)


def _submit(
    request: "PreparationRequest", out: Path, shards: int, texts: list[str]
) -> None:
    from bench.cli.cluster import parse_options, submit_shards

    jobs = submit_shards(request, out, shards, parse_options(texts))
    typer.echo(
        f"Submitted {len(jobs)} jobs, {jobs[0]} and following; when they are finished, "
        "the same command without --submit merges their parts."
    )


def _report(out: Path, read: int, seconds: float) -> None:
    # Imported here, since it loads JAX, which takes seconds.
    from bench.dataset.opening import open_dataset
    from bench.dataset.summary import describe

    typer.echo(describe(open_dataset(str(out))))
    typer.echo(f"Prepared: {out}, {read} structures read in {seconds:.1f} s")


def _progress():
    """Returns a callback that prints how many parts are read, one line at a time."""
    from rich.console import Console

    console = Console()
    last = [0.0]

    def callback(done: int, total: int) -> None:
        now = time.monotonic()
        interval = 0.2 if console.is_terminal else 10.0
        if done < total and (done == 0 or now - last[0] < interval):
            return
        last[0] = now
        end = "\r" if console.is_terminal and done < total else "\n"
        console.print(f"{done}/{total} parts read", end=end, highlight=False)

    return callback
