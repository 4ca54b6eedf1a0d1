"""Damaged files give one-line errors: no traceback, no hang, nothing executed."""

import json
import zipfile
import zlib

import ase.db
import ase.io
import h5py
import lmdb
import numpy as np
import pytest
from bench.dataset.columns import columns_from_rows
from bench.dataset.parts import read_row_range, row_ranges_of
from bench.dataset.preparing import prepare
from bench.exceptions import BenchError
from bench.settings.preparation import Filters, PreparationSettings
from bench.sources import ReadOptions, Rejected, Row, open_source
from bench.sources.aselmdb import AseLmdb
from bench.sources.source import build_or_reject
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

fuzz = settings(
    max_examples=40,
    deadline=5000,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


VECTORS = "<v>3 0 0</v><v>0 3 0</v><v>0 0 3</v>"
VASPRUN = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
<kpoints><varray name="kpointlist"><v>0 0 0</v></varray>
<varray name="weights"><v>1</v></varray></kpoints>
<atominfo><atoms>2</atoms><types>1</types><array name="atoms"><set>
<rc><c>H </c><c>1</c></rc><rc><c>O </c><c>2</c></rc></set></array></atominfo>
<structure name="initialpos"><crystal><varray name="basis">{VECTORS}</varray></crystal>
<varray name="positions"><v>0 0 0</v><v>0.5 0.5 0.5</v></varray></structure>
<calculation>
<scstep><energy><i name="e_fr_energy">-1.5</i><i name="e_wo_entrp">-1.5</i>
<i name="e_0_energy">-1.5</i></energy></scstep>
<structure><crystal><varray name="basis">{VECTORS}</varray></crystal>
<varray name="positions"><v>0 0 0</v><v>0.5 0.5 0.5</v></varray></structure>
<varray name="forces"><v>0.1 0 0</v><v>-0.1 0 0</v></varray>
<varray name="stress">{VECTORS}</varray>
<energy><i name="e_fr_energy">-1.5</i><i name="e_wo_entrp">-1.5</i>
<i name="e_0_energy">-1.5</i></energy>
</calculation>
</modeling>
"""
"""A minimal vasprun.xml for ASE."""


@st.composite
def damage(draw):
    """Draws a function that overwrites, deletes, inserts or truncates bytes."""
    kind = draw(st.sampled_from(["flip", "cut", "insert", "truncate"]))
    offsets = draw(st.lists(st.floats(0, 1), min_size=1, max_size=6))
    inserted = draw(st.binary(min_size=1, max_size=12))

    def apply(content: bytes) -> bytes:
        for offset in offsets:
            at = int(offset * (len(content) - 1))
            if kind == "truncate":
                return content[:at]
            resume = at + (len(inserted) if kind in ("flip", "cut") else 0)
            content = (
                content[:at] + (b"" if kind == "cut" else inserted) + content[resume:]
            )
        return content

    return apply


def outcome(path):
    """Returns the valid rows as columns, or the error message."""
    try:
        source = open_source(str(path), ReadOptions())
        read = [
            read_row_range(source, r, Filters(), False) for r in row_ranges_of(source)
        ]
    except BenchError as error:
        message = str(error)
        assert (
            message.endswith((".", "?")) and "\n" not in message and len(message) < 900
        ), message
        return message
    for columns, statistics in read:
        assert statistics.read == statistics.accepted + statistics.rejected
        assert all(
            len(reason) < 400 and "\n" not in reason
            for _, reason in statistics.examples
        )
        for name in ("positions", "numbers", "cell"):
            assert np.isfinite(columns.arrays[name]).all()
    return read


@pytest.fixture
def valid_files(tmp_path, toy_structure):
    """One valid file of every format, by suffix."""
    frames = [toy_structure(i, periodic=True) for i in range(4)]
    ase.io.write(tmp_path / "a.xyz", frames, format="extxyz")
    ase.io.write(tmp_path / "b.traj", frames)
    ase.io.write(tmp_path / "c.cif", frames[0])
    arrays = dict(
        positions=np.stack([a.positions for a in frames]),
        numbers=np.stack([a.numbers for a in frames]),
        energy=np.arange(4.0),
    )
    np.savez(tmp_path / "d.npz", **arrays)
    with h5py.File(tmp_path / "e.h5", "w") as file:
        for name, value in arrays.items():
            file[f"group/{name}"] = value
    ase.io.write(tmp_path / "f.xyz.gz", frames, format="extxyz")
    ase.io.write(tmp_path / "g.xyz.xz", frames, format="extxyz")
    with zipfile.ZipFile(tmp_path / "h.zip", "w") as archive:
        archive.write(tmp_path / "c.cif", "c.cif")
    (tmp_path / "vasprun.xml").write_text(VASPRUN)
    with ase.db.connect(tmp_path / "i.db") as database:
        for atoms in frames:
            database.write(atoms)
    return {path.suffix: (path, path.read_bytes()) for path in tmp_path.iterdir()}


SUFFIXES = [".xyz", ".traj", ".cif", ".npz", ".h5", ".gz", ".xz", ".zip", ".xml", ".db"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@fuzz
@given(change=damage())
def test_damaged_files_give_one_line_errors(valid_files, suffix, change):
    path, content = valid_files[suffix]
    path.write_bytes(change(content))
    outcome(path)
    path.write_bytes(content)
    assert not isinstance(outcome(path), str)


@pytest.fixture
def water(tmp_path):
    """A DeePMD system: two sets of two frames of three atoms."""
    rng = np.random.default_rng(0)
    system = tmp_path / "water"
    for number in range(2):
        offset = system / f"set.{number:03d}"
        offset.mkdir(parents=True)
        np.save(offset / "coord.npy", rng.uniform(0, 9, (2, 9)))
        np.save(offset / "box.npy", np.tile(9 * np.eye(3).ravel(), (2, 1)))
        np.save(offset / "energy.npy", rng.normal(size=2))
        np.save(offset / "force.npy", rng.normal(size=(2, 9)))
    (system / "type.raw").write_text("0 1 1\n")
    (system / "type_map.raw").write_text("O\nH\n")
    return system


@pytest.mark.parametrize(
    "name",
    ["set.000/coord.npy", "set.001/box.npy", "set.000/force.npy", "type.raw"],
)
@fuzz
@given(change=damage())
def test_damaged_systems_give_one_line_errors(water, name, change):
    path = water / name
    content = path.read_bytes()
    path.write_bytes(change(content))
    outcome(water)
    path.write_bytes(content)
    assert not isinstance(outcome(water), str)


def test_xml_entities_are_neither_fetched_nor_expanded(tmp_path):
    """A reference to another file, and one that grows by 1000 at each level."""
    levels = "".join(f"<!ENTITY x{i} '{f'&x{i - 1};' * 1000}'>" for i in range(1, 4))
    for name, declared in (
        ("far", f"<!ENTITY far SYSTEM 'file://{tmp_path}/secret'>"),
        ("x3", f"<!ENTITY x0 '{'9' * 1000}'>{levels}"),
    ):
        (tmp_path / "secret").write_text("-7.5")
        text = VASPRUN.replace("<modeling>", f"<!DOCTYPE a [{declared}]><modeling>", 1)
        path = tmp_path / "vasprun.xml"
        path.write_text(text.replace(">-1.5</i>", f">&{name};</i>"))
        result = outcome(path)
        if not isinstance(result, str):
            ((columns, _),) = result
            assert -7.5 not in columns.arrays["energy"]


@fuzz
@given(change=damage())
def test_damaged_json_gives_a_one_line_error(tmp_path, change):
    site = {"species": [{"element": "Zn", "occu": 1}], "xyz": [0, 0, 0]}
    site["properties"] = {"pbe_ddec_charge": 0.5}
    structure = {"lattice": {"matrix": np.eye(3).tolist()}, "sites": [site]}
    entries = [{"qmof_id": f"qmof-{i}", "structure": structure} for i in range(3)]
    content = json.dumps(entries, indent=1).encode()
    (tmp_path / "qmof_structure_data.json").write_bytes(change(content))
    (tmp_path / "qmof.csv").write_text("qmof_id,outputs.pbe.energy_total\nqmof-1,-1\n")
    outcome(tmp_path)


@fuzz
@given(change=damage())
def test_damaged_tables_give_one_line_errors(tmp_path, change):
    (tmp_path / "qmof_structure_data.json").write_text("[]")
    table = b"qmof_id,outputs.pbe.energy_total\nqmof-1,-1\nqmof-2,\nqmof-3,5.5\n"
    (tmp_path / "qmof.csv").write_bytes(change(table))
    outcome(tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["numbers", "positions", "__ndarray__", "data", "cell", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
keys = st.sampled_from(
    ["numbers", "positions", "cell", "pbc", "energy", "forces", "data", "tags", "key"]
)


@fuzz
@given(content=st.dictionaries(keys, json_values, max_size=8), change=damage())
def test_any_database_entry_is_a_valid_row_or_rejected(content, change):
    reader = AseLmdb((), ReadOptions())
    valid = {"numbers": [1], "positions": [[0.0, 0.0, 0.0]]}
    for row in (content, {**valid, **content}, [content], content.get("data")):
        blob = zlib.compress(json.dumps(row).encode())
        for bytes_ in (blob, change(blob)):
            result = build_or_reject("row", reader._row, bytes_, "id")
            if isinstance(result, Rejected):
                assert (
                    result.location == "row"
                    and result.reason
                    and "\n" not in result.reason
                )
            else:
                assert len(columns_from_rows([result])) == 1


@given(
    numbers=st.lists(st.integers(-5, 200), max_size=4),
    positions=st.lists(st.lists(st.floats(), max_size=4), max_size=4),
    cell=json_values,
    energy=json_values,
    forces=json_values,
    charges=json_values,
    spin=json_values,
    tags=json_values,
)
@settings(max_examples=150, deadline=None)
def test_rows_are_valid_or_rejected(numbers, positions, cell, energy, **more):
    make = lambda: Row("id", "g", numbers, positions, cell, more | {"energy": energy})
    row = build_or_reject("row", make)
    if isinstance(row, Rejected):
        assert row.reason and "\n" not in row.reason
        return
    atoms = len(row.numbers)
    assert row.positions.shape == (atoms, 3) and np.isfinite(row.positions).all()
    assert row.forces is None or row.forces.shape == (atoms, 3)
    assert row.charges is None or row.charges.shape == (atoms,)
    assert row.energy is None or np.isfinite(row.energy)
    columns_from_rows([row])


@pytest.mark.parametrize("fill", [b"\xff", b"\x00", b"\x5a"])
def test_damaged_database_crashes_only_the_reading_process(
    tmp_path, toy_structure, fill
):
    path = tmp_path / "a.aselmdb"
    with ase.db.connect(path, type="aselmdb") as database:
        for i in range(30):
            database.write(toy_structure(i), data={"text": "x" * 5000 * (i % 2)})
    with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as database:
        used = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
    content = path.read_bytes()
    # Damages stripes of everything but the two meta pages, which are checked first.
    broken = bytearray(content)
    for at in range(8192, used, 512):
        broken[at : at + 64] = fill * 64
    path.write_bytes(broken)
    try:
        header = prepare(
            PreparationSettings(source=str(path)), tmp_path / "out", workers=1
        )
    except BenchError as error:
        assert "\n" not in str(error)
    else:
        assert header["rejected"] > 0
    path.write_bytes(content)
    assert (
        prepare(PreparationSettings(source=str(path)), tmp_path / "out2")["structures"]
        == 30
    )
