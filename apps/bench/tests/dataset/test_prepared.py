"""The prepared form: columns on disk that come back as they went in."""

import dataclasses
import json

import numpy as np
import pytest
from bench.dataset.columns import LAYOUT, columns_from_rows, concatenate
from bench.dataset.merging import digest_of
from bench.dataset.prepared import open_prepared, verify
from bench.dataset.writing import write_prepared
from bench.exceptions import BenchError
from bench.labels import LABELS
from bench.sources import ReadOptions, Row
from bench.sources.ase_atoms import row_from_atoms
from hypothesis import given, settings
from hypothesis import strategies as st

reals = st.floats(-1e6, 1e6, allow_subnormal=False)
letters = st.text(st.characters(categories=("L", "N", "S")), min_size=1, max_size=12)


@st.composite
def rows(draw):
    """Structures with any combination of labels, in any order."""
    n = draw(st.integers(1, 4))
    vectors = lambda: draw(st.lists(reals, min_size=3 * n, max_size=3 * n))
    some = lambda make: make() if draw(st.booleans()) else None
    periodic = draw(st.booleans())
    return Row(
        id=draw(letters),
        group=draw(letters),
        numbers=np.array(draw(st.lists(st.integers(1, 118), min_size=n, max_size=n))),
        positions=np.reshape(vectors(), (n, 3)),
        cell=np.diag(draw(st.lists(st.floats(1, 50), min_size=3, max_size=3)))
        if periodic
        else None,
        total_charge=some(lambda: float(draw(st.integers(-3, 3)))),
        spin=some(lambda: draw(st.integers(1, 7))),
        energy=some(lambda: draw(reals)),
        forces=some(lambda: np.reshape(vectors(), (n, 3))),
        stress=some(lambda: np.array(draw(st.lists(reals, min_size=6, max_size=6))))
        if periodic
        else None,
        charges=some(lambda: np.array(vectors()[:n])),
        tags=some(lambda: np.arange(n) - 1),
    )


def assert_same(columns, i, row):
    """Compares structure `i` with the row it came from; atom labels are float32."""
    assert columns.text("id", i) == row.id and columns.text("group", i) == row.group
    for label in LABELS:
        assert columns.has(label)[i] == (getattr(row, label) is not None), label
    for name in (
        "numbers",
        "positions",
        "forces",
        "charges",
        "tags",
        "energy",
        "stress",
    ):
        label = getattr(row, name)
        if name not in columns.arrays:
            assert label is None
            continue
        column = LAYOUT[name]
        stored = columns.values(name, i) if column.per_atom else columns.arrays[name][i]
        if label is not None:
            expected = np.asarray(label).astype(column.dtype)
            np.testing.assert_array_equal(stored, expected)
        elif column.dtype[1] == "f":
            assert np.isnan(stored).all()
        else:
            assert (stored == column.fill_value).all()
    if row.cell is not None:
        np.testing.assert_array_equal(columns.arrays["cell"][i], row.cell)
    assert columns.arrays["periodic"][i] == (row.cell is not None)


@settings(max_examples=60, deadline=None)
@given(st.lists(rows(), min_size=1, max_size=6), st.data())
def test_rows_come_back_from_columns(many, data):
    cut = data.draw(st.integers(0, len(many)))
    whole = concatenate([columns_from_rows(many[:cut]), columns_from_rows(many[cut:])])
    for i, row in enumerate(many):
        assert_same(whole, i, row)
    chosen = data.draw(st.lists(st.integers(0, len(many) - 1), max_size=8))
    taken = whole.take(np.array(chosen, int))
    assert len(taken) == len(chosen)
    for i, index in enumerate(chosen):
        assert_same(taken, i, many[index])
    ids = whole.texts("id")
    assert [bytes(x).decode() for x in ids] == [r.id for r in many]


@settings(max_examples=25, deadline=None)
@given(st.lists(rows(), min_size=1, max_size=5), st.integers(0, 5))
def test_rows_come_back_from_disk(tmp_path_factory, many, cut):
    folder = tmp_path_factory.mktemp("set")
    parts = [columns_from_rows(many[:cut]), columns_from_rows(many[cut:])]
    order = np.argsort(concatenate(parts).texts("id"), kind="stable")
    write_prepared(folder, lambda: iter(parts), order, {"structures": len(many)})
    found = open_prepared(folder)
    verify(found)
    for i, row in enumerate(many):
        assert_same(found.columns, i, row)
    ids = [found.columns.text("id", int(i)) for i in found.order]
    assert ids == sorted(r.id for r in many)


def test_digest_knows_the_data_and_not_their_order(springs):
    make = lambda i: row_from_atoms(springs(i), ReadOptions(), f"x{i}", None)
    many = [make(i) for i in range(5)]
    digest = lambda rows: digest_of(columns_from_rows(rows).arrays["digest"])
    assert digest(many) == digest(many[::-1])
    for change in (
        {"energy": many[0].energy + 1e-5},
        {"id": "other"},
        {"total_charge": 1.0},
        {"positions": many[0].positions + 1e-5},
        {"numbers": many[0].numbers[::-1]},
        {"cell": np.eye(3)},
        {"spin": 3},
        {"forces": many[0].forces + 1e-4},
        {"charges": many[0].charges + 1e-4},
        {"charges": None},
        {"dipole": np.ones(3)},
        {"born_charges": np.ones((5, 3, 3))},
        {"cell": 9 * np.eye(3), "stress": np.ones(6)},
        {"tags": np.ones(5)},
    ):
        changed = [dataclasses.replace(many[0], **change), *many[1:]]
        assert digest(changed) != digest(many), change
    same = dataclasses.replace(many[0], positions=many[0].positions + 1e-9)
    assert digest([same, *many[1:]]) == digest(many)


@pytest.fixture
def folder(tmp_path, springs):
    many = [row_from_atoms(springs(i), ReadOptions(), f"x{i}", None) for i in range(5)]
    write_prepared(
        tmp_path,
        lambda: iter([columns_from_rows(many)]),
        np.arange(5),
        {"structures": 5},
    )
    return tmp_path


def test_columns_are_mapped_not_loaded(folder):
    found = open_prepared(folder)
    base = found.columns.arrays["positions"]
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap) or len(base) < 4096
    with pytest.raises(ValueError, match="read-only"):
        found.columns.values("positions", 0)[:] = 0


def test_a_set_without_header_is_unfinished(folder):
    (folder / "dataset.json").unlink()
    with pytest.raises(BenchError, match="no finished dataset"):
        open_prepared(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h | {"version": 1}, "made by an older version"),
        (lambda h: h | {"format": "other"}, "made by an older version"),
        (lambda h: h | {"structures": 6}, "does not match"),
        (lambda h: {k: v for k, v in h.items() if k != "columns"}, "damaged"),
        (lambda h: h | {"columns": h["columns"] | {"../evil": {"bytes": 1}}}, "match"),
        (lambda h: [h], "damaged"),
    ],
)
def test_headers_that_do_not_fit_are_refused(folder, change, message):
    path = folder / "dataset.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(BenchError, match=message):
        open_prepared(folder)
    path.write_text("{")
    with pytest.raises(BenchError, match="damaged"):
        open_prepared(folder)


def test_cut_missing_and_changed_files_are_found(folder):
    path = folder / "forces.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(BenchError, match=r"forces.npy has \d+ of \d+ bytes"):
        open_prepared(folder)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BenchError, match="forces.npy has changed"):
        verify(open_prepared(folder))
    path.write_bytes(b"x" * len(whole))
    with pytest.raises(BenchError, match="forces.npy cannot be read"):
        open_prepared(folder)
    path.unlink()
    with pytest.raises(BenchError, match="forces.npy cannot be read"):
        open_prepared(folder)
