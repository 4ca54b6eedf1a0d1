"""Inputs that would be read as something else than they are."""

import re
import zipfile

import h5py
import numpy as np
import pytest
from bench.exceptions import BenchError
from bench.sources import Reading, Rejected, open_source

WATER = "O 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n"
PLACES = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
CUBE = 'Lattice="8 0 0 0 8 0 0 0 8"'


def rows_of(path, format=None, **names):
    source = open_source(str(path), Reading(**names), format)
    return [row for unit in source.units() for row in source.rows(unit)]


@pytest.mark.parametrize(
    ("comment", "atoms", "why"),
    [
        # Charges that nothing names, as a plain XYZ file may have them.
        ("energy=-14", WATER.replace("\n", " 0.1\n"), "have 5 columns, and line 2"),
        # One value too many, in one line only: forces would move up by one.
        (
            "Properties=species:S:1:pos:R:3 energy=-14",
            WATER.replace("0.96 0 0", "0.96 7 0 0"),
            "have 5 columns, 4 are announced",
        ),
        # A crystal that would be a molecule.
        (CUBE.lower() + " energy=-14", WATER, "`lattice`.* calls `Lattice`"),
        (CUBE.replace("Lattice", "cell"), WATER, "`cell`.* calls `Lattice`"),
        ("properties=species:S:1:pos:R:3", WATER, "`properties`.* calls `Properties`"),
    ],
)
def test_columns_and_cells_that_are_not_read_are_named(tmp_path, comment, atoms, why):
    path = tmp_path / "water.xyz"
    path.write_text(f"3\n{comment}\n{atoms}3\n{CUBE} cell=1 energy=-14\n{WATER}")
    wrong, right = rows_of(path)
    assert isinstance(wrong, Rejected)
    assert not isinstance(right, Rejected)
    assert re.search(why, wrong.why)


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


def test_a_dump_of_lammps_needs_elements_and_has_no_energy(tmp_path):
    path = tmp_path / "dump.txt"
    path.write_text(DUMP)
    (row,) = rows_of(path, "lammps-dump-text")
    assert row.numbers.tolist() == [8, 1] and row.energy is None
    assert row.forces[:, 0].tolist() == [0.1, -0.1]
    lines = [
        " ".join(x for x in line.split() if x not in ("element", "O", "H"))
        for line in DUMP.splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(BenchError, match="types of atoms, not which elements"):
        rows_of(path, "lammps-dump-text")


def test_units_are_not_applied_twice_or_forgotten(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("never read\n")
    with pytest.raises(BenchError, match="orca-output says is read in eV and Å"):
        open_source(str(path), Reading(energy_unit="hartree"), "orca-output")
    with pytest.raises(BenchError, match="vasp-out says is read in eV and Å"):
        open_source(str(path), Reading(stress_unit="kbar"), "vasp-out")
    with pytest.raises(BenchError, match="--energy-unit hartree --length-unit bohr"):
        open_source(str(path), Reading(), "qbox")
    open_source(str(path), Reading(energy_unit="hartree", length_unit="bohr"), "qbox")


def test_as_many_structures_as_atoms(tmp_path):
    """What all structures share is told by its shape, not by its length."""
    many = np.stack([PLACES + i for i in range(3)])
    np.savez(tmp_path / "a.npz", z=[8, 1, 1], R=many, E=range(3), cell=8 * np.eye(3))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("water")
        group["species"] = [b"O", b"H", b"D"]
        group["coordinates"], group["energy"] = many, np.arange(3.0)
    for path in ("a.npz", "a.h5"):
        rows = rows_of(tmp_path / path)
        assert [row.numbers.tolist() for row in rows] == 3 * [[8, 1, 1]]
        assert [row.energy for row in rows] == [0, 1, 2]
        assert [row.cell is not None for row in rows] == 3 * [path == "a.npz"]


def test_boundaries_of_arrays_are_read(tmp_path):
    arrays = dict(z=[8, 1, 1], R=np.stack([PLACES] * 2), E=range(2), cell=8 * np.eye(3))
    np.savez(tmp_path / "a.npz", **arrays, pbc=[[True] * 3, [False] * 3])
    first, second = rows_of(tmp_path / "a.npz")
    assert first.cell is not None and second.cell is None
    np.savez(tmp_path / "a.npz", **arrays, pbc=[True, True, False])
    assert all("mix open and periodic" in r.why for r in rows_of(tmp_path / "a.npz"))


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    """Each run of VASP writes a vasprun.xml: none may take the place of another."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.xyz").write_text(f"3\nenergy=-14\n{WATER}")
    rows = rows_of(tmp_path)
    assert [row.id for row in rows] == ["a/train.xyz/0000000", "b/train.xyz/0000000"]
    (tmp_path / "b" / "train.xyz").rename(tmp_path / "b" / "test.xyz")
    assert [row.id for row in rows_of(tmp_path)] == ["train/0000000", "test/0000000"]
    site = "data_x\n" + "\n".join(
        [f"_cell_length_{axis} 9" for axis in "abc"]
        + [f"_cell_angle_{angle} 90" for angle in ("alpha", "beta", "gamma")]
        + [f"_atom_site_fract_{axis} 0" for axis in "xyz"]
        + ["_atom_site_type_symbol Zn"]
    )
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("relaxed.cif", "./run1/relaxed.cif"):
            archive.writestr(name, site)
    rows = rows_of(tmp_path / "a.zip")
    assert sorted(row.id for row in rows) == ["relaxed.cif", "run1/relaxed.cif"]


def test_all_arrays_of_deepmd_are_offered(tmp_path):
    for iteration in ("iter0", "iter1"):
        place = tmp_path / iteration / "data" / "set.000"
        place.mkdir(parents=True)
        (place.parent / "type.raw").write_text("0 1 1")
        (place.parent / "type_map.raw").write_text("O H")
        np.save(place / "coord.npy", [PLACES.ravel()] * 2)
        np.save(place / "q.npy", [[-0.8, 0.5, 0.3]] * 2)
        np.save(place / "spin.npy", np.zeros((2, 9)))
        np.save(place / "total.npy", [[1.0], [0.0]])
        np.save(place / "words.npy", np.array(["a", None]), allow_pickle=True)
    rows = rows_of(tmp_path, charges="q", total_charge="total")
    assert [r.id for r in rows[1:3]] == ["iter0/data/set.000/0000001"] + [
        "iter1/data/set.000/0000000"
    ]
    assert rows[0].group == "iter0/data" and rows[0].spin is None
    assert rows[0].charges.tolist() == [-0.8, 0.5, 0.3]
    assert [row.total_charge for row in rows] == [1, 0, 1, 0]
    assert set(rows[0].names) == {"q", "spin", "total"}


def test_a_stress_of_six_numbers_is_said_to_need_a_name(tmp_path):
    path = tmp_path / "water.xyz"
    comment = f'{CUBE} energy=-14 stress="1 2 3 4 5 6"'
    path.write_text(f"3\n{comment}\n{WATER}")
    (row,) = rows_of(path)
    assert "`stress` is not nine numbers: write all nine, or call it otherwise" in (
        row.why
    )
    path.write_text(f"3\n{comment.replace('stress', 'mine')}\n{WATER}")
    (row,) = rows_of(path, stress="mine")
    assert row.stress.tolist() == [1, 2, 3, 4, 5, 6]
    path.write_text(f'3\nLattice="8 8 8" energy=-14\n{WATER}')
    assert rows_of(path)[0].why == "its `Lattice` is not nine numbers: write all nine"


def test_an_atom_beyond_all_digits_is_named(tmp_path):
    path = tmp_path / "water.xyz"
    path.write_text(f"3\nenergy=-14\n{WATER.replace('0.96', '1e15')}")
    assert "atom 1 lies more than 1e+08 Å" in rows_of(path)[0].why


def test_a_name_given_for_one_label_is_no_other(tmp_path):
    """`charge` is the total charge of arrays, unless it is named as those of atoms."""
    charge = [[-0.8, 0.5, 0.3]] * 2
    np.savez(tmp_path / "a.npz", z=[8, 1, 1], R=[PLACES] * 2, charge=charge)
    assert "total_charge has shape (3,)" in rows_of(tmp_path / "a.npz")[0].why
    row, _ = rows_of(tmp_path / "a.npz", charges="charge")
    assert row.charges.tolist() == charge[0] and row.total_charge is None
