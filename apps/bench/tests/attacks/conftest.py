"""What is attacked, and what every attack must end in."""

import contextlib
import io
import json
import sys
import types
import warnings
from pathlib import Path

import ase.db
import ase.io
import h5py
import numpy as np
import pytest
import yaml

UNFINISHED = ("*.partial", ".*.tmp*")


@pytest.fixture(scope="session")
def command():
    """Runs a command line in this process: status, standard output and error."""

    def run(program, *arguments):
        import bench.cli.main
        import chemsplit._cli

        main = {"bench": bench.cli.main.main, "chemsplit": chemsplit._cli.main}[program]
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [program, *map(str, arguments)])
            with (
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
                warnings.catch_warnings(),
                pytest.raises(SystemExit) as end,
            ):
                warnings.simplefilter("ignore")
                main()
        return end.value.code or 0, out.getvalue(), err.getvalue()

    return run


@pytest.fixture
def assault(command, tmp_path, monkeypatch):
    """One line, a non-zero status, no traceback, nothing half-written."""
    monkeypatch.chdir(tmp_path)

    def attack(program, *arguments):
        before = contents(tmp_path)
        status, out, err = command(program, *arguments)
        lines = [line for line in err.splitlines() if ": warning: " not in line]
        assert status in (1, 2), (status, out, err)
        assert len(lines) == 1 and lines[0].startswith(f"{program}: "), err
        assert "Traceback" not in out + err and len(lines[0]) < 1000
        assert len(lines[0]) > len(program) + 15, "says nothing"
        for pattern in UNFINISHED:
            assert not list(tmp_path.rglob(pattern))
        after = contents(tmp_path)
        assert {k: after.get(k) for k in before} == before
        finished = {"dataset.json", "result.json", "report.html", "md.html"}
        assert not finished & {Path(name).name for name in after.keys() - before}

    return attack


def contents(folder):
    """Every file's bytes, but for locks."""
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock" and path.stat().st_size < 10**6
    }


@pytest.fixture(scope="session")
def bases(command, springs, tmp_path_factory):
    """Whole files and folders, to be copied and damaged."""
    home = tmp_path_factory.mktemp("bases")
    frames = [springs(i) for i in range(12)]
    for i, atoms in enumerate(frames):
        atoms.info["material"] = f"m{i // 3}"
    found = types.SimpleNamespace(home=home, frames=frames)
    found.xyz = home / "own.extxyz"
    ase.io.write(found.xyz, frames, format="extxyz")
    periodic = [springs(i, True) for i in range(4)]
    found.periodic = home / "periodic.extxyz"
    ase.io.write(found.periodic, periodic, format="extxyz")
    found.cif = home / "one.cif"
    ase.io.write(found.cif, periodic[0])
    _write_arrays(found, frames)
    _write_database(found, frames)
    found.prepared = home / "prepared"
    call = lambda *line: _succeed(command("bench", *line))
    call("prepare", found.xyz, "--out", found.prepared, "--workers", 1)
    found.grid = home / "grid.yaml"
    found.grid.write_text(yaml.safe_dump(_grid(found.xyz)))
    found.results = home / "results"
    call("run", found.grid, "--out", found.results)
    found.run = found.results / "random-mace-seed0"
    found.model = found.run / "model.npz"
    found.simulated = home / "md"
    call(*_md(found.run, found.xyz), "--frames", "0", "--out", found.simulated)
    found.descriptors = home / "set.npz"
    describe = ("describe", found.xyz, "--out", found.descriptors)
    keys = ("--id-key", "id", "--group-key", "material")
    made = command("chemsplit", *describe, "--descriptor", "composition", *keys)
    _succeed(made)
    found.split = home / "split.json"
    split = ("split", found.descriptors, "--out", found.split, "--kind", "random")
    _succeed(command("chemsplit", *split))
    return found


def _succeed(done):
    assert done[0] == 0, done


def _md(run, structure):
    return ("md", run, "--structure", structure, "--mode", "dev")


def _grid(file):
    small = {"mace": {"channels": 4, "l_max": 1, "radial_mlp": [8]}, "cutoff": 4.0}
    return {
        "dataset": str(file),
        "splits": ["random"],
        "long_range": ["none"],
        "model": small,
        "train": {"epochs": 1, "batch_size": 4},
    }


def _write_arrays(found, frames):
    arrays = {
        "positions": np.stack([a.positions for a in frames]),
        "atomic_numbers": np.stack([a.numbers for a in frames]),
        "energy": np.array([a.get_potential_energy() for a in frames]),
        "forces": np.stack([a.get_forces() for a in frames]),
    }
    found.arrays = arrays
    found.npz, found.hdf5 = found.home / "own.npz", found.home / "own.h5"
    np.savez(found.npz, **arrays)
    with h5py.File(found.hdf5, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    found.deepmd = found.home / "system"
    place = found.deepmd / "set.000"
    place.mkdir(parents=True)
    # One composition, in one order: types are those of all frames.
    order = np.argsort(frames[0].numbers)
    (found.deepmd / "type.raw").write_text("0 0 1 1 2\n")
    (found.deepmd / "type_map.raw").write_text("H\nC\nO\n")
    boxes = np.tile(np.eye(3).ravel() * 12, (len(frames), 1))
    np.save(place / "coord.npy", arrays["positions"][:, order].reshape(12, -1))
    np.save(place / "force.npy", arrays["forces"][:, order].reshape(12, -1))
    np.save(place / "energy.npy", arrays["energy"])
    np.save(place / "box.npy", boxes)


def _write_database(found, frames):
    found.aselmdb, found.db = found.home / "own.aselmdb", found.home / "own.db"
    with ase.db.connect(found.aselmdb, type="aselmdb") as database:
        for atoms in frames:
            database.write(atoms, data={"charge": 0})
    with ase.db.connect(found.db) as database:
        for atoms in frames:
            database.write(atoms)
    found.json = found.home / "energies.yaml"
    found.json.write_text(json.dumps({"H": -13.6, "C": -1030.0, "O": -2040.0}))
