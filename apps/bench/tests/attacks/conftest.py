"""Valid inputs to be damaged, and the check that damaged ones are one-line errors."""

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
    """Returns a function that runs a command: exit status, stdout and stderr."""

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
def assert_rejected(command, tmp_path, monkeypatch):
    """Returns a function that runs a command and asserts a one-line error.

    The exit status is 1 or 2, existing files are unchanged, and no result or partial
    file is written.
    """
    monkeypatch.chdir(tmp_path)

    def run_and_check(program, *arguments):
        before = contents(tmp_path)
        status, out, err = command(program, *arguments)
        lines = [line for line in err.splitlines() if ": warning: " not in line]
        assert status in (1, 2), (status, out, err)
        assert len(lines) == 1 and lines[0].startswith(f"{program}: "), err
        assert "Traceback" not in out + err and len(lines[0]) < 1000
        assert len(lines[0]) > len(program) + 15, "the message is empty"
        for pattern in UNFINISHED:
            assert not list(tmp_path.rglob(pattern))
        after = contents(tmp_path)
        assert {k: after.get(k) for k in before} == before
        finished = {"dataset.json", "result.json", "report.html", "md.html"}
        assert not finished & {Path(name).name for name in after.keys() - before}

    return run_and_check


def contents(folder):
    """Returns the content of all files except locks."""
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock" and path.stat().st_size < 10**6
    }


@pytest.fixture(scope="session")
def bases(command, toy_structure, tmp_path_factory):
    """Returns paths of valid files and folders, to be copied and damaged."""
    home = tmp_path_factory.mktemp("bases")
    frames = [toy_structure(i) for i in range(12)]
    for i, atoms in enumerate(frames):
        atoms.info["material"] = f"m{i // 3}"
    valid = types.SimpleNamespace(home=home, frames=frames)
    valid.xyz = home / "own.extxyz"
    ase.io.write(valid.xyz, frames, format="extxyz")
    periodic = [toy_structure(i, True) for i in range(4)]
    valid.periodic = home / "periodic.extxyz"
    ase.io.write(valid.periodic, periodic, format="extxyz")
    valid.cif = home / "one.cif"
    ase.io.write(valid.cif, periodic[0])
    _write_arrays(valid, frames)
    _write_database(valid, frames)
    valid.prepared = home / "prepared"
    call = lambda *line: _assert_success(command("bench", *line))
    call("prepare", valid.xyz, "--out", valid.prepared, "--workers", 1)
    valid.grid = home / "grid.yaml"
    valid.grid.write_text(yaml.safe_dump(_grid(valid.xyz)))
    valid.results = home / "results"
    call("run", valid.grid, "--out", valid.results)
    valid.run = valid.results / "random-mace-seed0"
    valid.model = valid.run / "model.npz"
    valid.simulated = home / "md"
    call(
        *_md(valid.run, valid.xyz),
        "-o",
        "structures.frames=0",
        "--out",
        valid.simulated,
    )
    valid.descriptors = home / "set.npz"
    describe = ("describe", valid.xyz, "--out", valid.descriptors)
    keys = ("--id-key", "id", "--group-key", "material")
    described = command("chemsplit", *describe, "--descriptor", "composition", *keys)
    _assert_success(described)
    valid.split = home / "split.json"
    split = ("split", valid.descriptors, "--out", valid.split, "--kind", "random")
    _assert_success(command("chemsplit", *split))
    return valid


def _assert_success(result):
    assert result[0] == 0, result


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


def _write_arrays(valid, frames):
    arrays = {
        "positions": np.stack([a.positions for a in frames]),
        "atomic_numbers": np.stack([a.numbers for a in frames]),
        "energy": np.array([a.get_potential_energy() for a in frames]),
        "forces": np.stack([a.get_forces() for a in frames]),
    }
    valid.arrays = arrays
    valid.npz, valid.hdf5 = valid.home / "own.npz", valid.home / "own.h5"
    np.savez(valid.npz, **arrays)
    with h5py.File(valid.hdf5, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    valid.deepmd = valid.home / "system"
    arrays_folder = valid.deepmd / "set.000"
    arrays_folder.mkdir(parents=True)
    # DeePMD stores the elements once: all frames have the same order of atoms.
    order = np.argsort(frames[0].numbers)
    (valid.deepmd / "type.raw").write_text("0 0 1 1 2\n")
    (valid.deepmd / "type_map.raw").write_text("H\nC\nO\n")
    boxes = np.tile(np.eye(3).ravel() * 12, (len(frames), 1))
    np.save(arrays_folder / "coord.npy", arrays["positions"][:, order].reshape(12, -1))
    np.save(arrays_folder / "force.npy", arrays["forces"][:, order].reshape(12, -1))
    np.save(arrays_folder / "energy.npy", arrays["energy"])
    np.save(arrays_folder / "box.npy", boxes)


def _write_database(valid, frames):
    valid.aselmdb, valid.db = valid.home / "own.aselmdb", valid.home / "own.db"
    with ase.db.connect(valid.aselmdb, type="aselmdb") as database:
        for atoms in frames:
            database.write(atoms, data={"charge": 0})
    with ase.db.connect(valid.db) as database:
        for atoms in frames:
            database.write(atoms)
    valid.json = valid.home / "energies.yaml"
    valid.json.write_text(json.dumps({"H": -13.6, "C": -1030.0, "O": -2040.0}))
