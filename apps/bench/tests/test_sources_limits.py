"""Small files that would fill a machine, or lead out of their folder, are refused."""

import zipfile

from bench._sources import Reading, open_source

CIF = """data_x
_cell_length_a 3
_cell_length_b 3
_cell_length_c 3
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Zn1 0 0 0
"""


def rows_of(path):
    source = open_source(str(path), Reading())
    return [row for unit in source.units() for row in source.rows(unit)]


def test_a_locked_member_of_a_zip_is_named(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.cif", CIF)
        archive.writestr("b.cif", CIF)
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1
    path.write_bytes(content)
    locked, fine = rows_of(path)
    assert "encrypted" in locked.why and fine.numbers.tolist() == [30]


def test_a_cif_without_end_is_not_read_to_it(tmp_path):
    path = tmp_path / "a.cif"
    path.write_text(CIF)
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    (row,) = rows_of(path)
    assert "larger than 64 MiB" in row.why
