"""Inputs that are easily misread: missing columns, keys, units and boundaries."""

import re
import zipfile

import h5py
import numpy as np
import pytest
from bench.exceptions import BenchError
from bench.sources import ReadOptions, Rejected, open_source

WATER = "O 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n"
POSITIONS = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
LATTICE = 'Lattice="8 0 0 0 8 0 0 0 8"'


def read_rows(path, format=None, **keys):
    source = open_source(str(path), ReadOptions(keys=keys, format=format))
    return [row for part in source.row_ranges() for row in source.rows(part)]


@pytest.mark.parametrize(
    ("comment", "atoms", "reason"),
    [
        # Charges without `Properties`, as in some plain XYZ files.
        ("energy=-14", WATER.replace("\n", " 0.1\n"), "have 5 columns, and line 2"),
        # One value too many in one line only: the forces would be shifted by one.
        (
            "Properties=species:S:1:pos:R:3 energy=-14",
            WATER.replace("0.96 0 0", "0.96 7 0 0"),
            "have 5 columns, 4 are announced",
        ),
        # A crystal would be read as a molecule.
        (LATTICE.lower() + " energy=-14", WATER, "`lattice`.* calls `Lattice`"),
        (LATTICE.replace("Lattice", "cell"), WATER, "`cell`.* calls `Lattice`"),
        ("properties=species:S:1:pos:R:3", WATER, "`properties`.* calls `Properties`"),
    ],
)
def test_unread_columns_and_cells_are_rejected(tmp_path, comment, atoms, reason):
    path = tmp_path / "water.xyz"
    path.write_text(f"3\n{comment}\n{atoms}3\n{LATTICE} cell=1 energy=-14\n{WATER}")
    rejected, valid = read_rows(path)
    assert isinstance(rejected, Rejected)
    assert not isinstance(valid, Rejected)
    assert re.search(reason, rejected.reason)


DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 8
0 8
0 8
ITEM: ATOMS id type element x y z fx fy fz
1 1 O 0 0 0 0.1 0 0
2 2 H 1 0 0 -0.1 0 0
"""


def test_lammps_dump_needs_elements_and_has_no_energy(tmp_path):
    path = tmp_path / "dump.txt"
    path.write_text(DUMP)
    (row,) = read_rows(path, "lammps-dump-text")
    assert row.numbers.tolist() == [8, 1] and row.energy is None
    assert row.forces[:, 0].tolist() == [0.1, -0.1]
    lines = [
        " ".join(x for x in line.split() if x not in ("element", "O", "H"))
        for line in DUMP.splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(BenchError, match="types of atoms but no elements"):
        read_rows(path, "lammps-dump-text")


def test_units_that_contradict_the_format_are_rejected(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("never read\n")
    with pytest.raises(BenchError, match="ASE converts orca-output to eV and Å"):
        open_source(str(path), ReadOptions(energy_unit="hartree", format="orca-output"))
    with pytest.raises(BenchError, match="ASE converts vasp-out to eV and Å"):
        open_source(str(path), ReadOptions(stress_unit="kbar", format="vasp-out"))
    with pytest.raises(BenchError, match="energy_unit=hartree -o read.length_unit"):
        open_source(str(path), ReadOptions(format="qbox"))
    open_source(
        str(path), ReadOptions(energy_unit="hartree", length_unit="bohr", format="qbox")
    )


def test_shared_arrays_with_as_many_structures_as_atoms(tmp_path):
    """The shape shows whether structures share an array, the length does not."""
    positions = np.stack([POSITIONS + i for i in range(3)])
    np.savez(
        tmp_path / "a.npz", z=[8, 1, 1], R=positions, E=range(3), cell=8 * np.eye(3)
    )
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("water")
        group["species"] = [b"O", b"H", b"D"]
        group["coordinates"], group["energy"] = positions, np.arange(3.0)
    for path in ("a.npz", "a.h5"):
        rows = read_rows(tmp_path / path)
        assert [row.numbers.tolist() for row in rows] == 3 * [[8, 1, 1]]
        assert [row.energy for row in rows] == [0, 1, 2]
        assert [row.cell is not None for row in rows] == 3 * [path == "a.npz"]


def test_pbc_array_is_read(tmp_path):
    arrays = dict(
        z=[8, 1, 1], R=np.stack([POSITIONS] * 2), E=range(2), cell=8 * np.eye(3)
    )
    np.savez(tmp_path / "a.npz", **arrays, pbc=[[True] * 3, [False] * 3])
    first, second = read_rows(tmp_path / "a.npz")
    assert first.cell is not None and second.cell is None
    np.savez(tmp_path / "a.npz", **arrays, pbc=[True, True, False])
    assert all(
        "mix open and periodic" in r.reason for r in read_rows(tmp_path / "a.npz")
    )


def test_files_of_the_same_name_are_named_by_their_folders(tmp_path):
    """Each VASP run writes a vasprun.xml, so that file names are not unique."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.xyz").write_text(f"3\nenergy=-14\n{WATER}")
    rows = read_rows(tmp_path)
    assert [row.id for row in rows] == ["a/train.xyz/0000000", "b/train.xyz/0000000"]
    (tmp_path / "b" / "train.xyz").rename(tmp_path / "b" / "test.xyz")
    assert [row.id for row in read_rows(tmp_path)] == ["train/0000000", "test/0000000"]
    site = "data_x\n" + "\n".join(
        [f"_cell_length_{axis} 9" for axis in "abc"]
        + [f"_cell_angle_{angle} 90" for angle in ("alpha", "beta", "gamma")]
        + [f"_atom_site_fract_{axis} 0" for axis in "xyz"]
        + ["_atom_site_type_symbol Zn"]
    )
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("relaxed.cif", "./run1/relaxed.cif"):
            archive.writestr(name, site)
    rows = read_rows(tmp_path / "a.zip")
    assert sorted(row.id for row in rows) == ["relaxed.cif", "run1/relaxed.cif"]


def test_other_deepmd_arrays_can_be_read_by_key(tmp_path):
    for iteration in ("iter0", "iter1"):
        directory = tmp_path / iteration / "data" / "set.000"
        directory.mkdir(parents=True)
        (directory.parent / "type.raw").write_text("0 1 1")
        (directory.parent / "type_map.raw").write_text("O H")
        np.save(directory / "coord.npy", [POSITIONS.ravel()] * 2)
        np.save(directory / "q.npy", [[-0.8, 0.5, 0.3]] * 2)
        np.save(directory / "spin.npy", np.zeros((2, 9)))
        np.save(directory / "total.npy", [[1.0], [0.0]])
        np.save(directory / "words.npy", np.array(["a", None]), allow_pickle=True)
    rows = read_rows(tmp_path, charges="q", total_charge="total")
    assert [r.id for r in rows[1:3]] == ["iter0/data/set.000/0000001"] + [
        "iter1/data/set.000/0000000"
    ]
    assert rows[0].group == "iter0/data" and rows[0].spin is None
    assert rows[0].charges.tolist() == [-0.8, 0.5, 0.3]
    assert [row.total_charge for row in rows] == [1, 0, 1, 0]
    assert set(rows[0].available_keys) == {"q", "spin", "total"}


def test_stress_of_six_numbers_must_be_renamed(tmp_path):
    path = tmp_path / "water.xyz"
    comment = f'{LATTICE} energy=-14 stress="1 2 3 4 5 6"'
    path.write_text(f"3\n{comment}\n{WATER}")
    (row,) = read_rows(path)
    assert "`stress` is not nine numbers: write all nine, or rename it" in (row.reason)
    path.write_text(f"3\n{comment.replace('stress', 'S')}\n{WATER}")
    (row,) = read_rows(path, stress="S")
    assert row.stress.tolist() == [1, 2, 3, 4, 5, 6]
    path.write_text(f'3\nLattice="8 8 8" energy=-14\n{WATER}')
    assert (
        read_rows(path)[0].reason == "its `Lattice` is not nine numbers: write all nine"
    )


def test_atom_too_far_from_the_origin_is_rejected(tmp_path):
    path = tmp_path / "water.xyz"
    path.write_text(f"3\nenergy=-14\n{WATER.replace('0.96', '1e15')}")
    assert "atom 1 is more than 1e+08 Å" in read_rows(path)[0].reason


def test_key_given_for_one_label_is_not_used_for_another(tmp_path):
    """`charge` is the total charge, unless it is given as key of the atomic charges."""
    charge = [[-0.8, 0.5, 0.3]] * 2
    np.savez(tmp_path / "a.npz", z=[8, 1, 1], R=[POSITIONS] * 2, charge=charge)
    assert "total_charge has shape (3,)" in read_rows(tmp_path / "a.npz")[0].reason
    row, _ = read_rows(tmp_path / "a.npz", charges="charge")
    assert row.charges.tolist() == charge[0] and row.total_charge is None
