"""Preparation of datasets: resuming, shards, invalid rows, full disks, memory."""

import gzip
import json
import subprocess
import sys
import zlib
from pathlib import Path

import ase.io
import lmdb
import numpy as np
import pytest
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator
from bench.dataset.opening import load_for_training, open_dataset
from bench.dataset.per_element import atomic_energies_for, fit_atomic_energies
from bench.dataset.preparing import prepare
from bench.dataset.request import Shard
from bench.dataset.summary import describe
from bench.exceptions import BenchError
from bench.settings.preparation import Filters, PreparationSettings
from bench.settings.schema import load_settings
from bench.settings.template import template_text
from typer.testing import CliRunner


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch):
    monkeypatch.setattr("bench.sources.extxyz.ROWS_PER_RANGE", 5)


@pytest.fixture
def file(tmp_path, toy_structure):
    """Twelve frames in ranges of five rows; the ids are not in file order."""
    path = tmp_path / "frames.xyz"
    frames = [toy_structure(i) for i in range(12)]
    for i, atoms in enumerate(frames):
        atoms.info["id"] = f"x{(7 * i) % 12:02d}"
    ase.io.write(path, frames, format="extxyz")
    return path


def request_for(path, **arguments):
    return PreparationSettings(source=str(path), **arguments)


def columns_of(folder):
    """Returns the bytes of all columns by file name."""
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.npy"))}


def test_a_prepared_dataset_equals_its_source(file, tmp_path):
    header = prepare(request_for(file), tmp_path / "out")
    prepared, direct = (
        load_for_training(str(tmp_path / "out")),
        load_for_training(str(file)),
    )
    assert prepared.digest == direct.digest == header["digest"]
    assert prepared.ids == direct.ids == [f"x{i:02d}" for i in range(12)]
    assert prepared.groups == direct.groups
    for sample, expected in zip(prepared.samples, direct.samples, strict=True):
        np.testing.assert_array_equal(
            sample.structure.positions, expected.structure.positions
        )
        np.testing.assert_array_equal(sample.forces, expected.forces)
        assert sample.energy == expected.energy
    files = {p.name for p in (tmp_path / "out").iterdir()} - {".lock"}
    assert files == {*columns_of(tmp_path / "out"), "dataset.json"}
    text, other = describe(prepared), describe(direct)
    assert text.splitlines()[1:7] == other.splitlines()[1:7]


def test_preparing_again_changes_nothing_and_rejects_other_inputs(file, tmp_path):
    out = tmp_path / "out"
    first = prepare(request_for(file), out)
    before = (out / "energy.npy").stat().st_mtime_ns
    assert prepare(request_for(file), out) == first
    assert (out / "energy.npy").stat().st_mtime_ns == before
    changed = r"other settings, filters.max_atoms \(stored None, now 3\): choose"
    with pytest.raises(BenchError, match=changed):
        prepare(request_for(file, filters=Filters(max_atoms=3)), out)
    file.write_text(file.read_text() + "\n")
    with pytest.raises(BenchError, match=r"settings, files \(stored hash of names"):
        prepare(request_for(file), out)


def test_an_interrupted_preparation_resumes(file, tmp_path):
    uninterrupted, stopped = tmp_path / "uninterrupted", tmp_path / "stopped"
    prepare(request_for(file), uninterrupted)

    def stop(done, parts):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(request_for(file), stopped, callback=stop)
    (part,) = (stopped / "parts").iterdir()
    modified = part.stat().st_mtime_ns
    with pytest.raises(BenchError, match="no finished dataset: run the same"):
        load_for_training(str(stopped))
    changed = r"unfinished preparation .*, strict \(stored False, now True\)"
    with pytest.raises(BenchError, match=changed):
        prepare(request_for(file, strict=True), stopped)
    progress = []
    prepare(
        request_for(file),
        stopped,
        callback=lambda *x: progress.append(
            (*x, part.exists() and part.stat().st_mtime_ns == modified)
        ),
    )
    assert progress == [(1, 3, True), (2, 3, True), (3, 3, True)]
    assert columns_of(stopped) == columns_of(uninterrupted)


def test_a_failed_preparation_releases_its_folder(file, tmp_path):
    out, damaged = tmp_path / "out", tmp_path / "damaged.xyz.gz"
    damaged.write_bytes(gzip.compress(file.read_bytes())[:-2000])
    with pytest.raises(BenchError, match=r"damaged.xyz.gz cannot be decompressed from"):
        prepare(request_for(damaged), out)
    assert not out.exists()
    # The same request reuses the readable part, as after an interruption.
    lines = file.read_text().splitlines(keepends=True)
    damaged = tmp_path / "damaged.xyz"
    damaged.write_text("".join([*lines[:49], "five\n", *lines[50:]]))
    progress = []
    for _ in range(2):
        with pytest.raises(BenchError, match=r"damaged.xyz cannot be read as extxyz"):
            prepare(request_for(damaged), out, callback=lambda *x: progress.append(x))
    assert progress == [(0, 2), (1, 2), (1, 2)]
    prepare(request_for(file), out)
    assert load_for_training(str(out)).digest == load_for_training(str(file)).digest
    assert {p.suffix for p in out.iterdir() if p.name != ".lock"} == {".npy", ".json"}


def test_a_failed_strict_preparation_can_be_repeated_without_strict(
    tmp_path, toy_structure
):
    path, out = (
        with_invalid_rows(tmp_path / "invalid.xyz", toy_structure),
        tmp_path / "out",
    )
    with pytest.raises(BenchError, match="is not finite; fix or remove it; `bench pr"):
        prepare(request_for(path, strict=True), out)
    assert prepare(request_for(path), out)["structures"] == 6
    ase.io.write(path, ase.io.read(path, "5:"), format="extxyz")
    with pytest.raises(BenchError, match="id 's005' is used twice"):
        prepare(request_for(path, strict=True), tmp_path / "again")
    assert prepare(request_for(path), tmp_path / "again")["structures"] == 2


def test_a_failed_shard_does_not_release_the_folder(file, tmp_path):
    out, damaged = tmp_path / "out", tmp_path / "damaged.xyz"
    lines = file.read_text().splitlines(keepends=True)
    damaged.write_text("".join([*lines[:49], "five\n", *lines[50:]]))
    prepare(request_for(damaged), out, shard=Shard(1, 2))
    with pytest.raises(BenchError, match="cannot be read as extxyz"):
        prepare(request_for(damaged), out, shard=Shard(2, 2))
    with pytest.raises(BenchError, match="unfinished preparation with other"):
        prepare(request_for(file), out)


@pytest.mark.parametrize("count", [2, 5])
def test_shards_give_the_same_dataset(file, tmp_path, count):
    single, shared = tmp_path / "single", tmp_path / "shared"
    prepare(request_for(file), single)
    for number in range(count, 0, -1):
        header = prepare(request_for(file), shared, shard=Shard(number, count))
        assert header is None and not (shared / "dataset.json").exists()
    prepare(request_for(file), shared)
    assert columns_of(shared) == columns_of(single)


def test_merging_reads_missing_shards(file, tmp_path):
    prepare(request_for(file), tmp_path / "out", shard=Shard(1, 2))
    progress = []
    prepare(request_for(file), tmp_path / "out", callback=lambda *x: progress.append(x))
    assert progress == [(2, 3), (3, 3)]


def test_shards_have_the_form_number_of_total():
    assert Shard.parse("3/8") == (3, 8)
    for text in ("0/8", "9/8", "3", "a/b", "3/", "-1/2", "1.5/2"):
        with pytest.raises(BenchError, match="A shard is written 1/8"):
            Shard.parse(text)


def test_worker_processes_give_the_same_dataset(file, tmp_path):
    prepare(request_for(file), tmp_path / "in_process")
    prepare(request_for(file), tmp_path / "workers", workers=2)
    assert columns_of(tmp_path / "in_process") == columns_of(tmp_path / "workers")


def test_a_long_range_is_stored_in_several_parts(file, tmp_path, monkeypatch):
    """Compressed files have no random access and are therefore one range."""
    monkeypatch.setattr("bench.dataset.parts.ROWS_PER_RANGE", 30)
    compressed = tmp_path / "frames.xyz.gz"
    compressed.write_bytes(gzip.compress(file.read_bytes() * 10))
    out = tmp_path / "out"
    prepare(request_for(compressed), out, shard=Shard(1, 1))
    names = sorted(p.name for p in (out / "parts").iterdir())
    last = "0000000.npz"
    assert names == [*(f"0000000+{i:06d}.npz" for i in range(3)), last]
    header = prepare(request_for(compressed), out)
    assert header["read"] == 120 and header["structures"] == 12
    assert header["left_out"] == {"repeats of another structure": 108}
    assert header["digest"] == load_for_training(str(file)).digest


def test_an_interrupted_range_is_read_again(file, tmp_path, monkeypatch):
    compressed = tmp_path / "frames.xyz.gz"
    compressed.write_bytes(gzip.compress(file.read_bytes()))
    monkeypatch.setattr("bench.dataset.parts.ROWS_PER_RANGE", 3)
    saved = []

    def stop(path, *content):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(path.name)
        save(path, *content)

    from bench.dataset.parts import save_part as save

    with monkeypatch.context() as patch:
        patch.setattr("bench.dataset.preparing.save_part", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(request_for(compressed), tmp_path / "out")
    assert saved == ["0000000+000000.npz", "0000000+000001.npz"]
    progress = []
    prepare(
        request_for(compressed),
        tmp_path / "out",
        callback=lambda *x: progress.append(x),
    )
    assert progress == [(0, 1), (1, 1)]
    assert (
        load_for_training(str(tmp_path / "out")).digest
        == load_for_training(str(file)).digest
    )


KILLED = """
import sys
from pathlib import Path
import bench.sources.extxyz
from bench.settings.preparation import Filters, PreparationSettings
from bench.settings.schema import load_settings
from bench.settings.template import template_text
from bench.dataset.preparing import prepare
bench.sources.extxyz.ROWS_PER_RANGE = 5
callback = lambda done, parts: print(done, flush=True)
prepare(PreparationSettings(source=sys.argv[1]), Path(sys.argv[2]), callback=callback)
"""


@pytest.mark.parametrize("after", [1, 17, 46])
def test_a_killed_preparation_resumes(file, tmp_path, toy_structure, after):
    """SIGKILL at an arbitrary moment after a number of the 48 parts."""
    ase.io.write(file, [toy_structure(i) for i in range(240)], format="extxyz")
    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, str(file), str(killed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < after:
            pass
        process.kill()
    progress = []
    header = prepare(request_for(file), killed, callback=lambda *x: progress.append(x))
    prepare(request_for(file), uninterrupted)
    assert header["read"] == header["structures"] == 240
    # The process may have finished before it was killed.
    assert not progress or (progress[0][0] >= after and progress[-1] == (48, 48))
    assert columns_of(killed) == columns_of(uninterrupted)


def with_atoms(path, toy_structure, *isolated):
    """Writes five structures of H, C and O, and atoms of given energy and charge."""
    frames = [toy_structure(i) for i in range(5)]
    for symbol, energy, charge in isolated:
        atom = ase.Atoms(symbol, [[0, 0, 0]])
        atom.info = {"id": f"{symbol}{charge}{energy}", "total_charge": charge}
        atom.calc = SinglePointCalculator(atom, energy=energy)
        frames.append(atom)
    ase.io.write(path, frames, format="extxyz")
    return path


ISOLATED = (
    ("H", -13.0, 0),
    ("H", -12.5, 0),
    ("H", -14.0, -1),
    ("C", -1.0, 0),
    ("O", 2, 0),
)


def test_isolated_atoms_become_atomic_energies(tmp_path, toy_structure):
    path = with_atoms(tmp_path / "a.xyz", toy_structure, *ISOLATED)
    header = prepare(request_for(path, atomic_energies="atoms"), tmp_path / "out")
    assert header["structures"] == 5
    assert header["left_out"] == {"isolated atoms, used as atomic energies": 5}
    # The lower of two neutral atoms; the ion is lower but does not count.
    assert header["atomic_energies"]["energies"] == {"H": -13.0, "C": -1.0, "O": 2.0}
    data = load_for_training(str(tmp_path / "out"))
    assert data.atomic_energies == {1: -13.0, 6: -1.0, 8: 2.0}
    residuals = [(s.energy + 2 * 13.0 + 2 * 1.0 - 2.0) / 5 for s in data.samples]
    assert header["atomic_energies"]["mae"] == pytest.approx(np.mean(np.abs(residuals)))
    assert header["atomic_energies"]["rmse"] == pytest.approx(
        np.sqrt(np.mean(np.square(residuals)))
    )
    line = "atomic energies  H -13.000, C -1.000, O 2.000 eV; residual"
    assert line in describe(data)
    assert atomic_energies_for(data, np.arange(2)) == data.atomic_energies
    plain = prepare(request_for(path), tmp_path / "plain")
    assert plain["structures"] == 10 and "atomic_energies" not in plain
    fitted = load_for_training(str(tmp_path / "plain"))
    assert fitted.atomic_energies is None
    members = np.array([fitted.ids.index("s003")])
    expected = fit_atomic_energies(fitted, members)
    assert atomic_energies_for(fitted, members) == expected


def test_a_crystal_of_one_atom_is_not_an_isolated_atom(tmp_path):
    """Three fcc cells of one copper atom stay; one is lower than the isolated atom."""
    path = Path(__file__).parents[1] / "data" / "isolated_and_fcc.xyz"
    header = prepare(request_for(path, atomic_energies="atoms"), tmp_path / "out")
    assert header["atomic_energies"]["energies"] == {"O": -1.9, "Cu": -0.25}
    assert header["left_out"] == {"isolated atoms, used as atomic energies": 2}
    assert header["structures"] == 7 and header["elements"] == {"O": 4, "Cu": 7}


@pytest.mark.parametrize(
    ("pbc", "kind", "isolated"),
    [
        ("F F F", "bulk", True),
        ("T T T", "IsolatedAtom", True),
        ("T T T", "isolated_atom", True),
        ("T T T", "bulk", False),
    ],
)
def test_isolated_atoms_are_open_or_have_the_config_type(tmp_path, pbc, kind, isolated):
    path = tmp_path / "atom.xyz"
    path.write_text(
        f'1\nLattice="9 0 0 0 9 0 0 0 9" pbc="{pbc}" config_type={kind} energy=-1\n'
        "H 0 0 0\n2\nenergy=-4\nH 0 0 0\nH 0 0 0.7\n"
    )
    request = request_for(path, atomic_energies="atoms")
    if not isolated:
        with pytest.raises(BenchError, match="energy of H, .* without a cell"):
            prepare(request, tmp_path / "out")
        return
    header = prepare(request, tmp_path / "out")
    assert header["atomic_energies"]["energies"] == {"H": -1.0}
    assert header["structures"] == 1


def test_given_atomic_energies_are_stored_and_part_of_the_inputs(file, tmp_path):
    path = tmp_path / "atoms.yaml"
    path.write_text('H: -13.6\nC: -1030\n"O": -2041.5\nNo: 1\n')
    header = prepare(request_for(file, atomic_energies=str(path)), tmp_path / "out")
    assert header["atomic_energies"]["energies"] == {
        "H": -13.6,
        "C": -1030,
        "O": -2041.5,
    }
    assert (
        prepare(request_for(file, atomic_energies=str(path)), tmp_path / "out")
        == header
    )
    path.write_text(path.read_text().replace("13.6", "13.7"))
    with pytest.raises(BenchError, match="finished dataset made from other files"):
        prepare(request_for(file, atomic_energies=str(path)), tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("H: -13.6", "no atomic energy of C, O, which"),
        ("H: high\nC: 1\nO: 1", "energy of H is not a number: 'high'"),
        ("H: .nan", "energy of H is not finite"),
        ("Hx: 1", "no element 'Hx'"),
        ("[1, 2]", "must hold energies by element"),
        ("{", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_invalid_atomic_energies_are_rejected(file, tmp_path, text, message):
    path = tmp_path / "atoms.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BenchError, match=message):
        prepare(request_for(file, atomic_energies=str(path)), tmp_path / "out")
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_missing_isolated_atoms_are_listed(tmp_path, toy_structure):
    path = with_atoms(
        tmp_path / "a.xyz", toy_structure, ("H", -13.0, 0), ("C", -1.0, 1)
    )
    with pytest.raises(BenchError, match="no atomic energy of C, O"):
        prepare(request_for(path, atomic_energies="atoms"), tmp_path / "out")


def with_invalid_rows(path, toy_structure):
    """Frame 3 has an infinite force, 6 is a copy of 5, 7 has the id of 5."""
    frames = [toy_structure(i) for i in range(9)]
    forces = frames[3].get_forces()
    forces[1, 1] = np.inf
    energy = frames[3].get_potential_energy()
    frames[3].calc = SinglePointCalculator(frames[3], energy=energy, forces=forces)
    frames[6] = frames[5].copy()
    frames[6].calc = frames[5].calc
    frames[7].info["id"] = "s005"
    ase.io.write(path, frames, format="extxyz")
    return path


def test_invalid_rows_are_counted_and_left_out(tmp_path, toy_structure):
    path = with_invalid_rows(tmp_path / "invalid.xyz", toy_structure)
    header = prepare(request_for(path), tmp_path / "out")
    assert header["read"] == 9 and header["structures"] == 6
    assert header["left_out"] == {"repeats of another structure": 1}
    assert header["rejected"] == 2
    assert header["rejected_examples"] == [
        [f"Frame 3 of {path}", "forces is not finite"],
        ["s005", "its id is used before for another structure"],
    ]
    data = open_dataset(str(tmp_path / "out"))
    assert data.ids == ["s000", "s001", "s002", "s004", "s005", "s008"]
    text = describe(data)
    assert "unusable         2, such as Frame 3 of" in text
    assert "left out         repeats of another structure: 1" in text


def test_strict_rejects_invalid_rows(tmp_path, toy_structure):
    path = with_invalid_rows(tmp_path / "invalid.xyz", toy_structure)
    with pytest.raises(BenchError, match="Frame 3 of .*: forces is not finite"):
        prepare(request_for(path, strict=True), tmp_path / "out")
    frames = ase.io.read(path, ":")
    ase.io.write(path, frames[5:], format="extxyz")
    with pytest.raises(BenchError, match="id 's005' is used twice"):
        prepare(request_for(path, strict=True), tmp_path / "out2")


def test_filters_and_their_counts(file, tmp_path, toy_structure):
    filters = Filters(total_charges=(1.0,))
    with pytest.raises(
        BenchError, match=r"12 structures .* none is left \(other total"
    ):
        prepare(request_for(file, filters=filters), tmp_path / "out")
    # The parts are deleted, since they do not depend on further options.
    assert not (tmp_path / "out" / "parts").exists()
    header = prepare(
        request_for(file, filters=Filters(without=("charges",))), tmp_path / "out"
    )
    assert header["labels"]["charges"] == 0 and header["labels"]["forces"] == 12
    assert load_for_training(str(tmp_path / "out")).samples[0].charges is None


def test_keys_that_no_structure_has_are_rejected(file, tmp_path):
    keys = {"forces": "force"}
    with pytest.raises(
        BenchError, match="has 'force', .* its forces; available: .*forces"
    ):
        prepare(request_for(file, keys=keys), tmp_path / "out")
    prepare(request_for(file), tmp_path / "out")


def test_likely_keys_are_suggested(tmp_path, toy_structure):
    frames = [toy_structure(i) for i in range(3)]
    for atoms in frames:
        atoms.info["REF_energy"] = atoms.calc.results["energy"]
        atoms.arrays["REF_forces"] = atoms.calc.results["forces"]
        atoms.calc = None
    path = tmp_path / "named.xyz"
    ase.io.write(path, frames, format="extxyz")
    suggestion = "such as -o keys.energy=REF_energy -o keys.forces=REF_forces"
    with pytest.raises(BenchError, match=suggestion):
        prepare(request_for(path), tmp_path / "out")
    keys = {"energy": "REF_energy", "forces": "REF_forces"}
    header = prepare(request_for(path, keys=keys), tmp_path / "out")
    assert header["labels"]["energy"] == header["labels"]["forces"] == 3


def test_a_dataset_without_energies(tmp_path, toy_structure):
    frames = [toy_structure(i) for i in range(3)]
    for atoms in frames:
        atoms.calc.results.pop("energy")
    path = tmp_path / "charges.xyz"
    ase.io.write(path, frames, format="extxyz")
    prepare(request_for(path), tmp_path / "out")
    data = open_dataset(str(tmp_path / "out"))
    assert "labels           forces, charges" in describe(data)
    samples = load_for_training(str(tmp_path / "out")).samples
    assert [s.energy for s in samples] == [None] * 3
    assert all(s.charges is not None for s in samples)


def test_placeholder_forces_are_reported(tmp_path, toy_structure):
    frames = [toy_structure(i) for i in range(3)]
    for atoms in frames:
        atoms.calc.results["forces"][:] = 0
    path = tmp_path / "zeros.xyz"
    ase.io.write(path, frames, format="extxyz")
    prepare(request_for(path), tmp_path / "out")
    text = describe(open_dataset(str(tmp_path / "out")))
    assert "all forces of 3 structures are zero" in text


FULL_DISK = """
import resource, sys
from pathlib import Path
from bench.exceptions import BenchError
from bench.settings.preparation import PreparationSettings
from bench.dataset.preparing import prepare
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    prepare(PreparationSettings(source=sys.argv[1]), Path(sys.argv[2]))
except BenchError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [100, 20_000])
def test_a_full_disk_leaves_no_partial_files(file, tmp_path, toy_structure, limit):
    frames = [toy_structure(i) for i in range(400)]
    ase.io.write(file, frames, format="extxyz")
    out = tmp_path / "out"
    command = [sys.executable, "-c", FULL_DISK, str(file), str(out), str(limit)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "cannot be written" in output and output.count("\n") == 1
    assert not list(tmp_path.rglob("*.partial"))
    assert not (out / "dataset.json").exists()
    header = prepare(request_for(file), out)
    assert header["structures"] == len(load_for_training(str(out))) == 400


def test_only_one_process_merges(file, tmp_path):
    import filelock

    (tmp_path / "out").mkdir()
    with (
        filelock.FileLock(tmp_path / "out" / ".lock"),
        pytest.raises(BenchError, match="Another process is merging"),
    ):
        prepare(request_for(file), tmp_path / "out")


def test_a_damaged_part_is_a_one_line_error(file, tmp_path):
    out = tmp_path / "out"
    prepare(request_for(file), out, shard=Shard(1, 1))
    part = out / "parts" / "0000001.npz"
    part.write_bytes(part.read_bytes()[:-30])
    with pytest.raises(BenchError, match="0000001.npz is damaged"):
        prepare(request_for(file), out)
    part.unlink()
    assert prepare(request_for(file), out)["structures"] == 12


def test_damaged_inputs_and_headers_are_one_line_errors(file, tmp_path):
    prepare(request_for(file), tmp_path / "unfinished", shard=Shard(1, 2))
    (tmp_path / "unfinished" / "preparation.json").write_text("{")
    with pytest.raises(BenchError, match=r"preparation.json is damaged .*: delete"):
        prepare(request_for(file), tmp_path / "unfinished")
    header = prepare(request_for(file), tmp_path / "finished")
    # As after a kill between writing the header and deleting the parts.
    (tmp_path / "finished" / "parts").mkdir()
    (tmp_path / "finished" / "parts" / "0000000.npz").touch()
    assert prepare(request_for(file), tmp_path / "finished") == header
    assert not (tmp_path / "finished" / "parts").exists()
    (tmp_path / "finished" / "dataset.json").write_text("]")
    with pytest.raises(BenchError, match=r"dataset.json is damaged .*: delete"):
        prepare(request_for(file), tmp_path / "finished")


def write_aselmdb(path: Path, count: int) -> None:
    """Writes a database in the format of ASE, faster than ASE does."""
    rng = np.random.default_rng(0)
    array = lambda x, dtype: {"__ndarray__": [list(x.shape), dtype, x.ravel().tolist()]}
    corners = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1.0]])
    with (
        lmdb.open(str(path), subdir=False, map_size=1 << 32) as database,
        database.begin(write=True) as view,
    ):
        for i in range(1, count + 1):
            row = {
                "numbers": array(np.array([6, 8, 1, 1]), "int64"),
                "positions": array(corners + 0.1 * rng.normal(size=(4, 3)), "float64"),
                "pbc": array(np.zeros(3, bool), "bool"),
                "cell": array(np.zeros((3, 3)), "float64"),
                "energy": float(rng.normal()),
                "forces": array(rng.normal(size=(4, 3)), "float64"),
                "data": {"source": f"made/up/{i}/step0", "charge": 0, "spin": 1},
            }
            text = zlib.compress(json.dumps(row).encode(), 1)
            view.put(str(i).encode(), text)
        view.put(b"nextid", zlib.compress(str(count + 1).encode()))


PEAK = """
import resource, sys
from pathlib import Path
from bench.settings.preparation import PreparationSettings
from bench.dataset.preparing import prepare
header = prepare(PreparationSettings(source=sys.argv[1]), Path(sys.argv[2]))
print(header["structures"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_memory(tmp_path, count):
    """Returns the peak memory of preparing some rows, MiB, without the database.

    The mapped pages of the database count as resident, but the kernel can reclaim them.
    """
    path = tmp_path / f"{count}.aselmdb"
    write_aselmdb(path, count)
    command = [sys.executable, "-c", PEAK, str(path), str(tmp_path / f"out{count}")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    structures, kilobytes = map(int, output.split())
    assert structures == count
    return kilobytes / 1024 - path.stat().st_size / 2**20


def test_memory_does_not_grow_with_rows(tmp_path):
    # In memory are the rows of one part, and about 200 bytes per row of the dataset.
    assert peak_memory(tmp_path, 6000) - peak_memory(tmp_path, 2000) < 10


@pytest.mark.slow
def test_memory_does_not_grow_with_a_hundred_thousand_rows(tmp_path):
    assert peak_memory(tmp_path, 100_000) - peak_memory(tmp_path, 3000) < 30


def invoke(*arguments):
    from bench.cli.main import app

    return CliRunner().invoke(app, [*map(str, arguments)])


def test_the_command_prepares_and_describes(file, tmp_path):
    out = tmp_path / "out"
    sample = ("-o", "filters.sample=12")
    result = invoke("prepare", file, "--out", out, "--workers", 1, *sample)
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"preparing {file} in {out}\n")
    assert "out: 12 open structures in 6 groups" in result.output
    assert f"Prepared: {out}, 12 of 12 structures stored in " in result.output
    info = invoke("info", out, "--verify")
    assert info.exit_code == 0 and "out: 12 open structures" in info.output
    path = out / "energy.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    assert "has changed" in str(invoke("info", out, "--verify").exception)


def test_the_command_passes_all_options(tmp_path, toy_structure, monkeypatch):
    received = {}

    def record(request, out, **arguments):
        received.update(request=request, out=out, **arguments)

    monkeypatch.setattr("bench.dataset.preparing.prepare", record)
    keys = ["energy", "forces", "stress", "charges", "total_charge", "spin", "tags"]
    settings = [f"keys.{k}=my-{k}" for k in [*keys, "id", "group"]]
    settings += ["read.energy_unit=hartree", "read.length_unit=bohr", "strict=true"]
    settings += ["filters.recipe=omol25", "read.format=traj", "filters.spins=[2]"]
    settings += ["filters.total_charges=[-1, 1]", "filters.min_atoms=2"]
    settings += ["filters.max_atoms=9", "filters.require=[forces]"]
    settings += ["filters.without=[tags]", "atomic_energies=atoms"]
    result = invoke(
        *("prepare", "source", "--out", "o", "--shard", "2/3", "--workers", 7),
        *(word for setting in settings for word in ("-o", setting)),
    )
    assert result.exit_code == 0, result.output
    assert "Shard 2/3 is read" in result.output
    request = received["request"]
    assert request.keys == {k: f"my-{k}" for k in [*keys, "id", "group"]}
    assert request.read_options.keys == request.keys
    assert request.read_options.conversion_factors["energy"] == units.Hartree
    assert (request.read.energy_unit, request.read.length_unit) == ("hartree", "bohr")
    assert request.filters == Filters(
        recipe="omol25",
        total_charges=(-1.0, 1.0),
        spins=(2,),
        min_atoms=2,
        max_atoms=9,
        require=("forces",),
        without=("tags",),
    )
    assert request.atomic_energies == "atoms"
    assert request.strict and request.read.format == "traj"
    assert received["shard"] == (2, 3) and received["workers"] == 7
    assert received["out"] == Path("o")


def test_a_settings_file_is_changed_on_the_command_line(tmp_path, monkeypatch):
    received = []
    record = lambda request, out, **_: received.append((request, out))
    monkeypatch.setattr("bench.dataset.preparing.prepare", record)
    file = tmp_path / "mine.yaml"
    file.write_text("source: a.xyz\nkeys: {energy: E, forces: F}\n")
    result = invoke("prepare", file, "--shard", "1/1", "-o", "keys.energy=REF")
    assert result.exit_code == 0, result.output
    ((request, out),) = received
    assert (request.source, request.keys) == ("a.xyz", {"energy": "REF", "forces": "F"})
    assert out == Path("data/mine")


def test_the_template_contains_the_defaults_and_is_accepted(tmp_path):
    text = invoke("template", "prepare").output
    file = tmp_path / "prepare.yaml"
    file.write_text(text)
    settings = load_settings(PreparationSettings, file, {}, [], command="")
    assert settings == PreparationSettings(source="mine.extxyz")
    assert template_text(settings) == text
    assert "# Unit of lengths; dipoles" in text and "One of angstrom, bohr, nm." in text
    missing = invoke("prepare", file, "--out", tmp_path / "out").exception
    assert "There is no data set 'mine.extxyz'" in str(missing)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("keys.energi=E", "keys: there is no label 'energi'; did you mean 'energy'"),
        ("energy=E", "unknown key 'energy'; known keys are source, strict, "),
        ("energy_unit=hartree", "did you mean 'read.energy_unit'?"),
        ("read.energy_units=hartree", "did you mean 'energy_unit'?"),
        ("read.energy_unit=furlong", "read.energy_unit: Input should be 'eV', 'meV'"),
        ("read.dipole_origin=moon", "should be 'mass' or 'coordinates'"),
        ("filters.recipe=omol", "should be 'qmof', 'odac25' or 'omol25'"),
        ("filters.require=[force]", "no label 'force'; did you mean 'forces'"),
        ("filters.max_atoms=0", "filters.max_atoms: Input should be greater than or"),
        ("filters.total_charges=[.nan]", "filters.total_charges.0: Input should be"),
        ("keys={stress: s, virial: v}", "keys: stress is read from 's' or from the vi"),
        ("source=''", "source: String should have at least 1 character"),
        ("strict=perhaps", "strict: Input should be a valid boolean"),
    ],
)
def test_invalid_settings_are_rejected_with_the_key(setting, message):
    error = invoke("prepare", "a.xyz", "--out", "o", "-o", setting).exception
    assert isinstance(error, BenchError) and message in str(error), error
    assert "\n" not in str(error)


def test_published_datasets_are_listed():
    text = invoke("prepare", "--published").output
    for word in ("QMOF", "figshare.13147324", "ODAC25", "OMol25", "CC BY 4.0", "arXiv"):
        assert word in text
    without_arguments = invoke("prepare")
    assert isinstance(without_arguments.exception, BenchError)
    assert "prepare SOURCE --out FOLDER" in str(without_arguments.exception)
    missing = invoke("prepare", "train_4M", "--out", "x")
    assert "bench prepare --published" in str(missing.exception)


def test_preparing_does_not_import_jax(file, tmp_path):
    program = (
        "import sys; from pathlib import Path\n"
        "from bench.settings.preparation import PreparationSettings\n"
        "from bench.dataset.preparing import prepare\n"
        f"settings = PreparationSettings(source={str(file)!r})\n"
        f"prepare(settings, Path({str(tmp_path / 'out')!r}))\n"
        "assert not {'jax', 'equinox'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
