"""The command `bench prepare`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.exceptions import BenchError, Interrupted

if TYPE_CHECKING:
    from bench.dataset.request import PreparationRequest

Key = Annotated[str | None, typer.Option(metavar="NAME", rich_help_panel="Names")]


def prepare_command(
    source: Annotated[
        str | None,
        typer.Argument(help="A file, a folder, or a pattern in quotes."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the data set.")] = None,
    where: Annotated[
        bool, typer.Option("--where", help="Say where published data come from.")
    ] = False,
    recipe: Annotated[
        str | None, typer.Option(help="Published subset: qmof, odac25 or omol25.")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="Where names of files do not tell it.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="A row that cannot be used is an error.")
    ] = False,
    atomic_energies: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Atomic energies in YAML, eV; `atoms` takes isolated atoms of the "
            "source.  \\[fitted to training data]",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Read one share; without it, the rest, and join."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Reading processes.  \\[all cores]")
    ] = None,
    submit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Read N shares as jobs of a cluster."),
    ] = None,
    submit_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Of submitit, such as timeout_min=60."),
    ] = None,
    energy_key: Key = None,
    forces_key: Key = None,
    stress_key: Key = None,
    virial_key: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Instead of stress: minus the stress times the volume.",
            rich_help_panel="Names",
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
    energy_unit: Annotated[str, typer.Option(rich_help_panel="Names")] = "eV",
    length_unit: Annotated[str, typer.Option(rich_help_panel="Names")] = "angstrom",
    stress_unit: Annotated[
        str | None,
        typer.Option(
            help="GPa, kbar or eV/Å^3.  \\[energy over length cubed]",
            rich_help_panel="Names",
        ),
    ] = None,
    dipole_origin: Annotated[
        str | None,
        typer.Option(
            help="Of charged structures' dipoles: mass or coordinates.",
            rich_help_panel="Names",
        ),
    ] = None,
    born_transposed: Annotated[
        bool,
        typer.Option(
            "--born-transposed",
            help="Born charges come as \\[displacement, polarisation].",
            rich_help_panel="Names",
        ),
    ] = False,
    total_charge: Annotated[
        list[float] | None, typer.Option(help="e.", rich_help_panel="Filters")
    ] = None,
    spin: Annotated[
        list[int] | None, typer.Option(help="Multiplicity.", rich_help_panel="Filters")
    ] = None,
    min_atoms: Annotated[int, typer.Option(rich_help_panel="Filters")] = 1,
    max_atoms: Annotated[int | None, typer.Option(rich_help_panel="Filters")] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            help="A label every structure must have.", rich_help_panel="Filters"
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="A label to leave out.", rich_help_panel="Filters"),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Draw so many of what is left at random.",
            rich_help_panel="Filters",
        ),
    ] = None,
) -> None:
    """Turns any supported source into a data set on disk; goes on where it stopped."""
    from bench.dataset.filters import Filters
    from bench.dataset.preparing import prepare
    from bench.dataset.request import PreparationRequest, Shard
    from bench.execution.workers import available_cores
    from bench.sources import ReadOptions
    from bench.sources.published import describe_published

    if where:
        typer.echo(describe_published())
        return
    if source is None or out is None:
        raise BenchError(
            "Say what to read and where to write: bench prepare SOURCE --out FOLDER; "
            "`bench prepare --where` says where published data come from."
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
    reading = ReadOptions(
        **keys,
        energy_unit=energy_unit,
        length_unit=length_unit,
        stress_unit=stress_unit,
        dipole_origin=dipole_origin,
        born_transposed=born_transposed,
    )
    request = PreparationRequest(
        source, reading, filters, format, strict, atomic_energies
    )
    if submit is not None:
        _submit(request, out, submit, submit_option or [])
        return
    began = time.perf_counter()
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
            "interrupted; parts that were read are kept and the same command goes on."
        ) from None
    seconds = time.perf_counter() - began
    if header is None:
        typer.echo(
            f"Shard {shard} is read; the same command without --shard joins all."
        )
        return
    _report(out, header["read"], seconds)


def _submit(
    request: "PreparationRequest", out: Path, shards: int, texts: list[str]
) -> None:
    from bench.cli.cluster import options_of, submit_shards

    jobs = submit_shards(request, out, shards, options_of(texts))
    typer.echo(
        f"Submitted {len(jobs)} jobs, {jobs[0]} and on; once they are done, the same "
        "command without --submit joins their parts."
    )


def _report(out: Path, read: int, seconds: float) -> None:
    # Imported late: it loads jax, which takes seconds.
    from bench.dataset.opening import open_dataset
    from bench.dataset.summary import describe

    typer.echo(describe(open_dataset(str(out))))
    typer.echo(f"Prepared: {out}, {read} structures read in {seconds:.1f} s")


def _progress():
    """A bar on a terminal; elsewhere a line now and then."""
    from rich.console import Console

    console = Console()
    last = [0.0]

    def callback(done: int, of: int) -> None:
        now = time.monotonic()
        every = 0.2 if console.is_terminal else 10.0
        if done < of and (done == 0 or now - last[0] < every):
            return
        last[0] = now
        end = "\r" if console.is_terminal and done < of else "\n"
        console.print(f"{done}/{of} parts read", end=end, highlight=False)

    return callback
