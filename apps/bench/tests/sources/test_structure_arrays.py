"""npz, HDF5 and DeePMD files: structures as a few large arrays."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from bench.exceptions import BenchError
from bench.sources import ReadOptions, Rejected, open_source


def read_rows(path, **keys):
    source = open_source(str(path), ReadOptions(keys=keys))
    return [row for part in source.row_ranges() for row in source.rows(part)]


@pytest.fixture
def atoms(toy_structure):
    return [toy_structure(i) for i in range(4)]


def save_concatenated(path, atoms, **more):
    """Saves 5, 4, 3 and 2 atoms, concatenated, in fractional coordinates."""
    cells = np.stack([np.diag([9.0, 10.0, 11.0 + i]) + 0.1 for i in range(4)])
    part = [a[: 5 - i] for i, a in enumerate(atoms)]
    frac = [a.positions @ np.linalg.inv(c) for a, c in zip(part, cells, strict=True)]
    arrays = dict(
        qmof_id=np.array([f"qmof-{i}" for i in range(4)]),
        n_atoms=np.array([len(a) for a in part], np.int32),
        numbers=np.concatenate([a.numbers for a in part]).astype(np.uint8),
        frac=np.concatenate(frac),
        cell=cells,
        energy_pbe_d3=np.array([-1.0, -2.0, np.nan, -4.0]),
        pbe_ddec_charge=np.arange(14) / 10,
        pbe_cm5_charge=np.arange(14) / 5,
    )
    np.savez(path, **{**arrays, **more})
    return part, cells


def test_concatenated_atoms_are_split_by_structure(tmp_path, atoms):
    part, cells = save_concatenated(tmp_path / "a.npz", atoms)
    rows = read_rows(tmp_path / "a.npz")
    assert [r.id for r in rows] == [f"qmof-{i}" for i in range(4)]
    begin = 0
    for row, a, cell in zip(rows, part, cells, strict=True):
        np.testing.assert_array_equal(row.numbers, a.numbers)
        np.testing.assert_allclose(row.positions, a.positions, atol=1e-12)
        np.testing.assert_array_equal(row.cell, cell)
        expected = np.arange(begin, begin + len(a)) / 10
        np.testing.assert_allclose(row.charges, expected)
        begin += len(a)
    # The third energy is missing, not zero.
    assert [r.energy for r in rows] == [-1.0, -2.0, None, -4.0]
    cm5 = read_rows(tmp_path / "a.npz", charges="pbe_cm5_charge")
    np.testing.assert_allclose(cm5[1].charges, np.arange(5, 9) / 5)


def test_padding_is_removed(tmp_path, atoms):
    numbers = np.stack([a.numbers for a in atoms]).astype(float)
    mask = np.ones((4, 5), bool)
    mask[2, 3:] = False
    forces = np.stack([a.get_forces() for a in atoms])
    np.savez(
        tmp_path / "d.npz",
        positions=np.stack([a.positions for a in atoms]),
        atomic_numbers=numbers,
        node_mask=mask,
        energy=np.arange(4.0),
        forces=forces,
    )
    rows = read_rows(tmp_path / "d.npz")
    assert [len(r) for r in rows] == [5, 5, 3, 5]
    np.testing.assert_allclose(rows[2].forces, forces[2, :3])
    assert all(r.cell is None for r in rows)
    # Shared atomic numbers, padded with zeros.
    np.savez(
        tmp_path / "e.npz",
        positions=np.stack([atoms[0].positions] * 2),
        numbers=np.array([1, 6, 8, 0, 0]),
        energy=np.arange(2.0),
    )
    assert [r.numbers.tolist() for r in read_rows(tmp_path / "e.npz")] == [
        [1, 6, 8]
    ] * 2


def test_invalid_structures_are_rejected_and_invalid_files_are_errors(tmp_path, atoms):
    charges = np.arange(14) / 10
    charges[6] = np.inf
    save_concatenated(tmp_path / "a.npz", atoms, pbe_ddec_charge=charges)
    rows = read_rows(tmp_path / "a.npz")
    assert [isinstance(r, Rejected) for r in rows] == [False, True, False, False]
    assert rows[1] == (f"Structure 1 of {tmp_path / 'a.npz'}", "charges is not finite")
    save_concatenated(tmp_path / "b.npz", atoms, n_atoms=np.array([5, 4, 3, 9]))
    with pytest.raises(BenchError, match="do not add up to 14 atoms"):
        read_rows(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", energy=np.zeros(3))
    with pytest.raises(BenchError, match="has energy but no atomic numbers"):
        read_rows(tmp_path / "c.npz")
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[:-100])
    with pytest.raises(BenchError, match="cannot be read as npz"):
        read_rows(tmp_path / "cut.npz")


class FailsWhenUnpickled:
    def __reduce__(self):
        return (pytest.fail, ("an object was unpickled",))


def test_objects_are_never_unpickled(tmp_path, atoms):
    save_concatenated(
        tmp_path / "a.npz", atoms, extra=np.array([FailsWhenUnpickled()], object)
    )
    with pytest.raises(BenchError, match="Python objects, which are never loaded"):
        read_rows(tmp_path / "a.npz")


@pytest.fixture
def groups(tmp_path, atoms):
    """Two groups with positions, links, a group without positions."""
    path = tmp_path / "set.h5"
    with h5py.File(path, "w") as file:
        for name, part, size in (("005", atoms[:3], 5), ("003", atoms[3:], 3)):
            group = file.create_group(name)
            group["coord"] = np.stack([a.positions[:size] for a in part]).astype("f4")
            group["numbers"] = np.stack([a.numbers[:size] for a in part])
            group["energy"] = np.array([a.get_potential_energy() for a in part])
            group["forces"] = np.stack([a.get_forces()[:size] for a in part])
            group["charge"] = np.arange(len(part), dtype=np.int8) - 1
            group["mult"] = np.arange(len(part), dtype=np.int8) + 1
            group["charges"] = np.zeros((len(part), size), "f4")
            group["_id"] = np.array([f"m{name}{i}".encode() for i in range(len(part))])
        file["notes/text"] = "nothing"
        file["out"] = h5py.ExternalLink("/etc/passwd", "/")
        file["loop"] = h5py.SoftLink("/")
    return path


def test_hdf5_groups_are_read(groups, atoms):
    rows = read_rows(groups)
    assert [r.id for r in rows] == ["m0030", "m0050", "m0051", "m0052"]
    assert [r.total_charge for r in rows] == [-1, -1, 0, 1]
    assert [r.spin for r in rows] == [1, 1, 2, 3]
    for row, a in zip(rows[1:], atoms, strict=False):
        np.testing.assert_allclose(row.positions, a.positions, atol=1e-6)
        np.testing.assert_array_equal(row.forces, a.get_forces())
        assert row.energy == a.get_potential_energy()


def test_arrays_in_other_files_are_not_read(groups, tmp_path):
    """Otherwise results could contain files of the user that the sender chose."""
    secret = tmp_path / "secret"
    secret.write_bytes(np.ones(30).tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["energy"] = np.ones(3)
    with h5py.File(groups, "a") as file:
        group = file["005"]
        del group["energy"], group["forces"], group["charge"]
        outside = [(str(secret), 0, h5py.h5f.UNLIMITED)]
        group.create_dataset("forces", (3, 5, 3), "f8", external=outside[:1])
        group["energy"] = h5py.ExternalLink("other.h5", "/energy")
        layout = h5py.VirtualLayout((3,), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "energy", (3,))
        group.create_virtual_dataset("charge", layout)
    rows = [r for r in read_rows(groups) if r.id.startswith("m005")]
    assert len(rows) == 3
    for row in rows:
        assert row.energy is None and row.forces is None and row.total_charge is None


def test_row_ranges_cover_a_group(groups, monkeypatch):
    content = [r.id for r in read_rows(groups)]
    monkeypatch.setattr("bench.sources.source.ROWS_PER_RANGE", 2)
    assert len(open_source(str(groups), ReadOptions()).row_ranges()) == 3
    assert [r.id for r in read_rows(groups)] == content


def test_damaged_and_empty_hdf5_files_are_errors(groups, tmp_path):
    groups.write_bytes(groups.read_bytes()[:3000])
    with pytest.raises(BenchError, match="cannot be read as HDF5"):
        read_rows(groups)
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file["energy"] = np.zeros(3)
    with pytest.raises(BenchError, match="no group of it has positions"):
        read_rows(tmp_path / "none.h5")


@pytest.fixture
def system(tmp_path, toy_structure):
    """A DeePMD system with two sets, from frames with a known stress."""
    atoms = [toy_structure(i, periodic=True) for i in range(5)]
    root = tmp_path / "system"
    types = {1: 1, 6: 0, 8: 2}
    for a in atoms:
        a.numbers[:] = atoms[0].numbers
    for number, part in enumerate((atoms[:3], atoms[3:])):
        directory = root / f"set.{number:03d}"
        directory.mkdir(parents=True)
        take = lambda f, part=part: np.stack([f(a).ravel() for a in part])
        np.save(directory / "coord.npy", take(lambda a: a.positions))
        np.save(directory / "box.npy", take(lambda a: a.cell.array))
        np.save(directory / "force.npy", take(lambda a: a.calc.results["forces"]))
        np.save(
            directory / "energy.npy", np.array([a.calc.results["energy"] for a in part])
        )
        np.save(directory / "virial.npy", take(lambda a: np.diag([1.0, 2.0, 3.0])))
    (root / "type_map.raw").write_text("C\nH\nO\n")
    (root / "type.raw").write_text("\n".join(str(types[z]) for z in atoms[0].numbers))
    return root, atoms


def test_deepmd_systems_are_read(system):
    root, atoms = system
    rows = read_rows(root)
    assert [r.id for r in rows][::3] == [
        "system/set.000/0000000",
        "system/set.001/0000000",
    ]
    for row, a in zip(rows, atoms, strict=True):
        np.testing.assert_array_equal(row.numbers, a.numbers)
        np.testing.assert_array_equal(row.positions, a.positions)
        np.testing.assert_array_equal(row.forces, a.calc.results["forces"])
        # The virial is minus the stress times the volume.
        expected = -np.array([1.0, 2.0, 3.0, 0, 0, 0]) / a.get_volume()
        np.testing.assert_allclose(row.stress, expected)
        assert row.group == "system"
    (root / "nopbc").touch()
    assert all(r.cell is None and r.stress is None for r in read_rows(root))


def test_incomplete_deepmd_systems_are_errors(system):
    root, _ = system
    (root / "type_map.raw").write_text("C\nH\n")
    with pytest.raises(BenchError, match="type_map.raw"):
        read_rows(root)
    coord = root / "set.000" / "coord.npy"
    coord.write_bytes(coord.read_bytes()[:50])
    with pytest.raises(BenchError, match="cannot be read as npy"):
        read_rows(root)


def test_mixed_deepmd_systems_have_types_per_frame():
    """In this format `type.raw` has the same type for all atoms."""
    rows = read_rows(Path(__file__).parents[1] / "data" / "deepmd_mixed")
    assert [r.numbers.tolist() for r in rows] == [[8, 1, 1], [1, 1, 8]]
    assert [r.energy for r in rows] == [-14.0, -15.0]
    assert [r.group for r in rows] == ["sys/H2O", "sys/H2O"]


def mixed(root, types, **arrays):
    """Reads two frames of three slots in a system of H, O and Zn."""
    directory = root / "sys" / "set.000"
    directory.mkdir(parents=True)
    (root / "sys" / "type.raw").write_text("0\n0\n0\n")
    (root / "sys" / "type_map.raw").write_text("H O Zn")
    coord = np.arange(18.0).reshape(2, 9)
    given = {"coord": coord, "force": -coord, "real_atom_types": types} | arrays
    for name, array in given.items():
        np.save(directory / f"{name}.npy", np.array(array))
    return read_rows(root)


def test_virtual_deepmd_atoms_are_padding(tmp_path):
    first, second = mixed(tmp_path, [[2, -1, 1], [0, 1, -1]])
    assert first.numbers.tolist() == [30, 8] and second.numbers.tolist() == [1, 8]
    np.testing.assert_array_equal(first.positions, [[0, 1, 2], [6, 7, 8]])
    np.testing.assert_array_equal(second.forces, [[-9, -10, -11], [-12, -13, -14]])
    # A mixed system has one group per composition.
    assert (first.group, second.group) == ("sys/OZn", "sys/HO")


@pytest.mark.parametrize("types", [[[0, 1, 3], [0, 1, 2]], [[0, -2, 1], [0, 1, 2]]])
def test_types_without_an_element_are_rejected(tmp_path, types):
    first, second = mixed(tmp_path, types)
    assert isinstance(first, Rejected) and "from 0 to 2" in first.reason
    assert second.numbers.tolist() == [1, 8, 30]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"types": np.zeros((2, 4), int)}, r"types.npy has shape \(2, 4\)"),
        (
            {"types": np.zeros((1, 3), int)},
            "types.npy has 1 rows, .* 2 frames",
        ),
        ({"energy": np.zeros(3)}, "energy.npy has 3 rows, but coord.npy has 2 frames"),
    ],
)
def test_inconsistent_deepmd_arrays_are_errors(tmp_path, arrays, message):
    with pytest.raises(BenchError, match=message):
        mixed(tmp_path, **({"types": np.zeros((2, 3), int)} | arrays))


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize("keys", [{}, {"forces": "other"}])
def test_labels_of_wrong_length_are_errors(tmp_path, atoms, suffix, keys):
    label = keys.get("forces", "energy")
    arrays = dict(
        positions=np.stack([a.positions for a in atoms]), numbers=atoms[0].numbers
    )
    arrays |= {label: np.arange(3.0), "unknown": np.arange(7)}
    path = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    with pytest.raises(BenchError, match=f"4 structures, but 3 rows of {label}"):
        read_rows(path, **keys)
