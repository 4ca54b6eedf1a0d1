"""CIFs: symmetry, disorder, encodings, multiple blocks."""

from pathlib import Path

import numpy as np
import pytest
from ase.geometry import cellpar_to_cell
from ase.spacegroup import crystal
from bench.dataset.preparing import prepare
from bench.dynamics.study.structure_files import read_frames
from bench.exceptions import BenchError
from bench.settings.preparation import PreparationSettings
from bench.sources import ReadOptions, Rejected, open_source

CASES = Path(__file__).parents[1] / "data" / "cif"


def read_rows(path, **keys):
    source = open_source(str(path), ReadOptions(keys=keys))
    return [row for part in source.row_ranges() for row in source.rows(part)]


def only_row(path, text=None, **keys):
    if text is not None:
        path = path / "single.cif"
        path.write_text(text)
    (row,) = read_rows(path, **keys)
    return row


CUBIC = (9.0, 9.0, 9.0, 90.0, 90.0, 90.0)
SITES = [("Zn1 Zn", (0.0, 0.0, 0.0)), ("C1 C", (0.04, 0.29, 0.11))]


def cif(head="", cell=CUBIC, columns=(), sites=SITES):
    """Returns a CIF; `columns` are further columns of the atom sites."""
    tags = ("length_a", "length_b", "length_c")
    tags += ("angle_alpha", "angle_beta", "angle_gamma")
    lines = ["data_x"]
    lines += [f"_cell_{tag} {value}" for tag, value in zip(tags, cell, strict=True)]
    lines += [head, "loop_", "_atom_site_label", "_atom_site_type_symbol"]
    lines += [f"_atom_site_fract_{axis}" for axis in "xyz"]
    lines += [f"_atom_site_{name}" for name, _ in columns]
    for i, (names, position) in enumerate(sites):
        values = [str(column[i]) for _, column in columns]
        lines.append(" ".join([names, *map(str, position), *values]))
    return "\n".join(lines) + "\n"


def space_group(name):
    return f"_space_group_name_H-M_alt '{name}'"


def operations(*triplets):
    lines = [f"'{t}'" for t in triplets]
    return "\n".join(["loop_", "_space_group_symop_operation_xyz", *lines])


@pytest.mark.parametrize(
    ("name", "zn_cl", "charged"),
    [
        ("name_only", 4, False),
        ("name_only_charges", 4, True),
        ("global_first", 1, True),
        ("latin1", 1, True),
        ("dot_occ", 1, True),
        ("preamble_line", 1, True),
    ],
)
def test_unusual_published_files_are_read(name, zn_cl, charged):
    row = only_row(CASES / f"{name}.cif")
    np.testing.assert_array_equal(row.numbers, np.repeat([11, 17], zn_cl))
    # Na and Cl alternate along the axes, half a cell apart.
    halves = np.round(row.positions / 2.82).astype(int)
    np.testing.assert_allclose(row.positions, 2.82 * halves, atol=1e-12)
    np.testing.assert_array_equal(halves.sum(1) % 2, np.repeat([0, 1], zn_cl))
    assert len(np.unique(halves % 2, axis=0)) == 2 * zn_cl
    if charged:
        np.testing.assert_allclose(row.charges, np.repeat([0.9, -0.9], zn_cl))
    else:
        assert row.charges is None


MONOCLINIC = (9.0, 10.0, 11.0, 90.0, 104.0, 90.0)
HEXAGONAL = (9.0, 9.0, 14.0, 90.0, 90.0, 120.0)
RHOMBOHEDRAL = (9.0, 9.0, 9.0, 75.0, 75.0, 75.0)
TETRAGONAL = (9.0, 9.0, 14.0, 90.0, 90.0, 90.0)


@pytest.mark.parametrize(
    ("name", "number", "setting", "cell"),
    [
        ("P 21/c", 14, 1, MONOCLINIC),
        ("C 1 2/c 1", 15, 1, MONOCLINIC),
        ("P 21 21 21", 19, 1, (9.0, 10.0, 11.0, 90.0, 90.0, 90.0)),
        ("R -3 m", 166, 1, HEXAGONAL),
        ("R -3 m", 166, 2, RHOMBOHEDRAL),
        ("P 63/m m c", 194, 1, HEXAGONAL),
        ("I 41/a m d:1", 141, 1, TETRAGONAL),
        ("I 41/a m d:2", 141, 2, TETRAGONAL),
        ("F d -3 m :2", 227, 2, CUBIC),
        ("Fm-3m", 225, 1, CUBIC),
    ],
)
def test_space_group_name_generates_the_atoms_of_ase(
    tmp_path, name, number, setting, cell
):
    """ASE has independent tables."""
    row = only_row(tmp_path, cif(space_group(name), cell, [("charge", (2.0, -1.0))]))
    ase_atoms = crystal(
        ["Zn", "C"],
        [position for _, position in SITES],
        spacegroup=number,
        setting=setting,
        cellpar=cell,
    )
    assert len(row) == len(ase_atoms)
    for z, charge in ((30, 2.0), (6, -1.0)):
        positions = row.positions[row.numbers == z]
        gaps = positions[:, None] - ase_atoms.positions[ase_atoms.numbers == z]
        gaps = gaps @ np.linalg.inv(row.cell)
        gaps = np.linalg.norm((gaps - np.round(gaps)) @ row.cell, axis=-1)
        assert (gaps.min(0) < 1e-6).all() and (gaps.min(1) < 1e-6).all()
        np.testing.assert_array_equal(row.charges[row.numbers == z], charge)


@pytest.mark.parametrize(
    "head",
    [
        # P 21/n is another setting of P 21/c; two ways to write it.
        space_group("P 21/n"),
        "_symmetry_space_group_name_Hall '-P 2yn'",
        operations(
            *("x,y,z", "1/2-x, 1/2+y, 1/2-z"),
            *("-x,-y,-z", "x+0.5, -y+0.5, z+0.5"),
        ),
    ],
)
def test_operations_are_applied_site_by_site(tmp_path, head):
    columns = [("other_charge", (5, 6)), ("charge", ("0.25(3)", "-0.5"))]
    row = only_row(tmp_path, cif(head, MONOCLINIC, columns))
    x, y, z = SITES[1][1]
    expected = np.array(
        [
            [0, 0, 0],
            [0.5, 0.5, 0.5],
            [x, y, z],
            [0.5 - x, 0.5 + y, 0.5 - z],
            [1 - x, 1 - y, 1 - z],
            [0.5 + x, 0.5 - y, 0.5 + z],
        ]
    )
    np.testing.assert_array_equal(row.numbers, [30, 30, 6, 6, 6, 6])
    cell = cellpar_to_cell(MONOCLINIC)
    order = slice(None) if "symop" in head else np.argsort(expected[:, 2] % 1)
    positions = row.positions if "symop" in head else row.positions[_by_height(row)]
    np.testing.assert_allclose(positions, (expected @ cell)[order], atol=1e-12)
    np.testing.assert_allclose(row.charges, [0.25] * 2 + [-0.5] * 4)
    other = only_row(tmp_path / "single.cif", charges="other_charge")
    np.testing.assert_array_equal(other.charges, [5, 5, 6, 6, 6, 6])


def _by_height(row):
    return np.argsort((row.positions @ np.linalg.inv(row.cell))[:, 2])


def test_operations_without_quotes_in_a_setting_without_table(tmp_path):
    """Spaces split them into three values; tables do not include this translation."""
    plain = operations("x, y, z", "x+1/2, y, z").replace("'", "")
    row = only_row(tmp_path, cif(plain, sites=SITES[1:]))
    fractions = np.array([[0.04, 0.29, 0.11], [0.54, 0.29, 0.11]])
    np.testing.assert_allclose(row.positions, 9 * fractions, atol=1e-12)


INVERSION = operations("x,y,z", "-x,-y,-z")
UNDETERMINED = {
    "two choices of origin": cif(space_group("F d -3 m")),
    "number 14 are compatible with its cell": cif(
        "_space_group_IT_number 14", MONOCLINIC
    ),
    "'P 9' is unknown": cif(space_group("P 9")),
    "operations are those of P -1": cif(f"{space_group('P 21/c')}\n{INVERSION}"),
    "2 operations are of another": cif(
        f"{space_group('F m -3 m')}\n{operations('x,y,z', 'x+1/2,y,z')}"
    ),
    "which is 225, but has the number 14": cif(
        f"{space_group('F m -3 m')}\n_symmetry_Int_Tables_number 14"
    ),
    "the number '300'": cif("_symmetry_Int_Tables_number 300"),
    "2 operations of its symmetry are not a group": cif(
        operations("x,y,z", "-y,x,z"), TETRAGONAL
    ),
    "1 operations of its symmetry are not a group": cif(operations("-x,-y,-z")),
    "a symmetry operation cannot be parsed": cif(operations("x,y")),
    "its cell does not have the symmetry": cif(space_group("F m -3 m"), TETRAGONAL),
    "Hall symbol 'Q 9' cannot be parsed": cif("_space_group_name_Hall 'Q 9'"),
    "1 is 0.18 Å from its own": cif(INVERSION, sites=[("C1 C", (0.01, 0, 0))]),
    "more than 1000 operations": cif(
        operations(*(f"x+{i}/24,y,z" for i in range(1001)))
    ),
    "by _space_group_name_Schoenflies alone": cif(
        "_space_group_name_Schoenflies 'O_h^5'"
    ),
    "by _space_group_symop_magn_operation.xyz alone": cif(
        "loop_\n_space_group_symop_magn_operation.xyz\n'x,y,z,+1'\n'-x,-y,-z,-1'"
    ),
}


@pytest.mark.parametrize("reason", UNDETERMINED)
def test_ambiguous_or_inconsistent_symmetry_is_rejected(tmp_path, reason):
    assert reason in only_row(tmp_path, UNDETERMINED[reason]).reason


@pytest.mark.parametrize(
    "head",
    [
        "_space_group_name_H-M_full 'P 1 21/c 1'",
        "_symmetry.space_group_name_H-M 'P 1 21/c 1'",
        operations("x,y,z", "-x,y+1/2,-z+1/2", "-x,-y,-z", "x,-y+1/2,z+1/2").replace(
            "_space_group_symop_operation_xyz", "_symmetry_equiv.pos_as_xyz"
        ),
    ],
)
def test_alternative_symmetry_tags_are_read(tmp_path, head):
    expected = only_row(
        tmp_path, cif(space_group("P 21/c"), MONOCLINIC, sites=SITES[1:])
    )
    row = only_row(tmp_path, cif(head, MONOCLINIC, sites=SITES[1:]))
    assert len(row) == 4
    position = lambda r: np.sort(np.round(r.positions, 9) @ [1.0, np.pi, np.e])
    np.testing.assert_allclose(position(row), position(expected), atol=1e-6)


def test_crystal_system_implies_no_operations(tmp_path):
    text = cif("_symmetry_cell_setting cubic\n_symmetry_space_group_name_H-M ?")
    assert len(only_row(tmp_path, text)) == 2


DISORDERED = {
    "partially occupied": [("occupancy", ("0.5(1)", "1"))],
    "an occupancy is not a number: 'most'": [("occupancy", ("most", "1"))],
    "alternatives": [("disorder_group", ("1", "2"))],
    "hydrogen atoms of site C1": [("attached_hydrogens", (0, 2))],
    "site Zn1 is a dummy atom": [("calc_flag", ("dum", "d"))],
}


@pytest.mark.parametrize("reason", DISORDERED)
def test_disordered_or_incomplete_structures_are_rejected(tmp_path, reason):
    assert reason in only_row(tmp_path, cif(columns=DISORDERED[reason])).reason


def test_alternatives_belong_to_one_assembly(tmp_path):
    """A file with one of the alternatives is a valid structure."""
    assert "alternatives" in only_row(CASES / "disorder.cif").reason
    group = [("disorder_group", ("1", "."))]
    assert len(only_row(tmp_path, cif(columns=group))) == 2
    separate = [("disorder_group", ("1", "2")), ("disorder_assembly", ("A", "B"))]
    assert len(only_row(tmp_path, cif(columns=separate))) == 2
    negative = [("disorder_group", ("-1", "."))]
    assert len(only_row(tmp_path, cif(columns=negative))) == 2
    assert "alternatives" in only_row(tmp_path, cif(INVERSION, columns=negative)).reason


@pytest.mark.parametrize(
    ("symbol", "number"),
    [
        *(("Zn", 30), ("ZN", 30), ("Zn2+", 30), ("O-2", 8), ("C_R", 6), ("OW", 8)),
        *(("D", 1), ("13C", 6), ("Dy", 66)),
    ],
)
def test_site_types_are_converted_to_elements(tmp_path, symbol, number):
    row = only_row(tmp_path, cif(sites=[(f"A1 {symbol}", (0, 0, 0))]))
    assert row.numbers.tolist() == [number]


@pytest.mark.parametrize(
    ("label", "number"), [("C12A", 6), ("OW1", 8), ("Zn1", 30), ("ZN1", 30)]
)
def test_unambiguous_labels_replace_missing_types(tmp_path, label, number):
    row = only_row(tmp_path, without_types(cif(sites=[(label, (0, 0, 0))])))
    assert row.numbers.tolist() == [number]


def without_types(text):
    return text.replace("_atom_site_type_symbol\n", "")


BROKEN = {
    "'CA1' may be Ca or C": without_types(cif(sites=[("CA1", (0, 0, 0))])),
    "there is no element 'Cnt'": cif(sites=[("A1 Cnt", (0, 0, 0))]),
    "there is no element 'X'": cif(sites=[("A1 X", (0, 0, 0))]),
    "site 1 has no valid coordinates: '? 0 0'": cif(sites=[("A1 C", ("?", 0, 0))]),
    "its _cell_length_a is missing": cif(cell=("?", *CUBIC[1:])),
    "its angles [30.0, 30.0, 170.0] do not form a cell": cif(
        cell=(3, 3, 3, 30, 30, 170)
    ),
    "duplicate tag _cell_length_b": cif("_cell_length_b 7"),
    "no line begins with `data_`": "just text",
    "no sites with coordinates": "data_x\n_cell_length_a 3\n",
    "sites have no _atom_site_fract_z": "data_x\nloop_\n_atom_site_fract_x\n"
    "_atom_site_fract_y\n0 0\n",
    "line 1 of `data` is line 3": "some\nwords\n" + cif("_cell_length_b 7"),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_missing_or_duplicate_values_are_rejected(tmp_path, reason):
    assert reason in only_row(tmp_path, BROKEN[reason]).reason


@pytest.mark.parametrize(
    "kind", ["\ufeff{}", "  {}", "# Ångström\n{}", "_x µ\n{}"], ids=repr
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_non_ascii_characters_are_ignored(tmp_path, kind, encoding):
    text = kind.format(cif("_publ_author_name 'Müller, Å.'"))
    path = tmp_path / "a.cif"
    path.write_bytes(text.encode(encoding, "ignore"))
    assert only_row(path).numbers.tolist() == [30, 6]


def test_every_block_with_a_structure_is_a_row(tmp_path):
    second = cif(columns=[("occupancy", (1, 0.5))]).replace("data_x", "data_half")
    third = cif(sites=SITES[:1]).replace("data_x", "data_zinc")
    (tmp_path / "three.cif").write_text(cif() + second + "data_none\n_a 1\n" + third)
    first, half, zinc = read_rows(tmp_path)
    assert (first.id, zinc.id) == ("three/x", "three/zinc")
    assert isinstance(half, Rejected) and "Block half of" in half.location
    assert (len(first), len(zinc)) == (2, 1)


def test_single_site_without_a_loop(tmp_path):
    lines = cif(sites=()).split("loop_")[0] + "_atom_site_label Zn1\n"
    lines += "".join(f"_atom_site_fract_{axis} 0.25\n" for axis in "xyz")
    row = only_row(tmp_path, lines + "_atom_site_charge 0.5\n")
    assert row.numbers.tolist() == [30] and row.charges.tolist() == [0.5]
    np.testing.assert_allclose(row.positions, [[2.25, 2.25, 2.25]])


def test_cartesian_coordinates(tmp_path):
    text = cif(cell=MONOCLINIC).replace("fract", "Cartn")
    np.testing.assert_allclose(
        only_row(tmp_path, text).positions,
        [position for _, position in SITES],
        atol=1e-12,
    )


@pytest.mark.parametrize("symbol", ["C", "N"])
def test_equivalent_sites_listed_with_operations_are_rejected(tmp_path, symbol):
    """Each operation would generate an atom on another listed site."""
    path, out = tmp_path / "full.cif", tmp_path / "out"
    twin = (f"X1 {symbol}", (-0.04, -0.29, -0.11))
    path.write_text(cif(operations("x,y,z", "-x,-y,-z"), sites=[*SITES, twin]))
    with pytest.raises(BenchError, match="full.cif cannot .* 1 and 4 are 0 Å"):
        read_frames(path)
    with pytest.raises(BenchError, match="full: atoms 1 and 4 are 0 Å apart; fix"):
        prepare(PreparationSettings(source=str(path), strict=True), out)
    path.write_text(cif(operations("x,y,z"), sites=[*SITES, twin]))
    (atoms,) = read_frames(path)
    assert len(atoms) == 3
