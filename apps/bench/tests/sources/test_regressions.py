"""Small files that were once misread or rejected."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from bench.dataset.opening import open_dataset
from bench.dataset.preparing import prepare
from bench.dataset.summary import describe
from bench.settings.preparation import PreparationSettings
from bench.sources import ReadOptions, Rejected, open_source

DATA = Path(__file__).parents[1] / "data"


def read_rows(path, format=None, **keys):
    source = open_source(str(path), ReadOptions(keys=keys, format=format))
    return [row for part in source.row_ranges() for row in source.rows(part)]


@pytest.mark.parametrize("name", ["bom", "latin1", "deuterium"])
def test_encodings_and_isotopes_give_the_same_water(name):
    """A byte-order mark, Latin-1, deuterium."""
    (row,) = read_rows(DATA / f"{name}.xyz")
    assert row.numbers.tolist() == [8, 1, 1]
    np.testing.assert_array_equal(
        row.positions, [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]
    )
    np.testing.assert_array_equal(row.cell, 8 * np.eye(3))
    assert row.energy == -14.0


def test_byte_order_mark_with_row_ranges(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.sources.extxyz.ROWS_PER_RANGE", 1)
    path = tmp_path / "two.xyz"
    path.write_bytes(2 * (DATA / "deuterium.xyz").read_bytes())
    plain = [r.id for r in read_rows(path)]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [r.id for r in read_rows(path)] == plain == ["0000000", "0000001"]


def test_isotopes_in_any_column(tmp_path):
    path = tmp_path / "columns.xyz"
    path.write_text(
        "3\nProperties=charge:R:1:pos:R:3:species:S:1:tags:I:1 energy=-14.0\n"
        "-0.8 0 0 0 O 1\n0.4 0.96 0 0 t 2\n0.4 -0.24 0.93 0 d 3\n"
    )
    (row,) = read_rows(path)
    assert row.numbers.tolist() == [8, 1, 1] and row.tags.tolist() == [1, 2, 3]
    assert row.charges.tolist() == [-0.8, 0.4, 0.4]


def test_symbol_with_a_label_is_rejected():
    (row,) = read_rows(DATA / "labelled_symbols.xyz")
    assert isinstance(row, Rejected)
    assert "'O1', the symbol of atom 0, is no element" in row.reason


def test_asymmetric_stress_is_rejected(tmp_path):
    (row,) = read_rows(DATA / "asymmetric_stress.xyz")
    assert isinstance(row, Rejected) and row.reason == "stress is not symmetric"
    atoms = ase.io.read(DATA / "asymmetric_stress.xyz")
    ase.io.write(tmp_path / "symmetric.xyz", atoms, format="extxyz")
    (row,) = read_rows(tmp_path / "symmetric.xyz")
    np.testing.assert_allclose(row.stress, atoms.get_stress())


def test_data_set_of_one_element(tmp_path):
    path = DATA / "one_element.xyz"
    energies = [a.get_potential_energy() for a in ase.io.iread(path, ":")]
    header = prepare(PreparationSettings(source=str(path)), tmp_path / "out")
    assert header["elements"] == {"Si": 96}
    # All have eight atoms: the best constant is the mean.
    mean = np.mean(energies) / 8
    fit = header["composition_fit"]
    assert fit["energies"]["Si"] == pytest.approx(mean)
    assert fit["mae"] == pytest.approx(np.abs(np.array(energies) / 8 - mean).mean())
    for source in (path, tmp_path / "out"):
        text = describe(open_dataset(str(source)))
        assert f"Si {mean:.3f} eV" in text
