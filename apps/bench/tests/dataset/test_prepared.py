"""Prepared datasets: columns in memory and on disk, digests and damaged files."""

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
names = st.text(st.characters(categories=("L", "N", "S")), min_size=1, max_size=12)


@st.composite
def rows(draw):
    """Draws a structure with any combination of labels."""
    n = draw(st.integers(1, 4))
    vectors = lambda: draw(st.lists(reals, min_size=3 * n, max_size=3 * n))
    optional = lambda build: build() if draw(st.booleans()) else None
    periodic = draw(st.booleans())
    return Row(
        id=draw(names),
        group=draw(names),
        numbers=np.array(draw(st.lists(st.integers(1, 118), min_size=n, max_size=n))),
        positions=np.reshape(vectors(), (n, 3)),
        cell=np.diag(draw(st.lists(st.floats(1, 50), min_size=3, max_size=3)))
        if periodic
        else None,
        labels=dict(
            total_charge=optional(lambda: float(draw(st.integers(-3, 3)))),
            spin=optional(lambda: draw(st.integers(1, 7))),
            energy=optional(lambda: draw(reals)),
            forces=optional(lambda: np.reshape(vectors(), (n, 3))),
            stress=optional(
                lambda: np.array(draw(st.lists(reals, min_size=6, max_size=6)))
            )
            if periodic
            else None,
            charges=optional(lambda: np.array(vectors()[:n])),
            tags=optional(lambda: np.arange(n) - 1),
        ),
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
def test_columns_preserve_rows(rows, data):
    cut = data.draw(st.integers(0, len(rows)))
    columns = concatenate(
        [columns_from_rows(rows[:cut]), columns_from_rows(rows[cut:])]
    )
    for i, row in enumerate(rows):
        assert_same(columns, i, row)
    indices = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    subset = columns.take(np.array(indices, int))
    assert len(subset) == len(indices)
    for i, index in enumerate(indices):
        assert_same(subset, i, rows[index])
    ids = columns.texts("id")
    assert [bytes(x).decode() for x in ids] == [r.id for r in rows]


@settings(max_examples=25, deadline=None)
@given(st.lists(rows(), min_size=1, max_size=5), st.integers(0, 5))
def test_files_preserve_rows(tmp_path_factory, rows, cut):
    folder = tmp_path_factory.mktemp("set")
    parts = [columns_from_rows(rows[:cut]), columns_from_rows(rows[cut:])]
    order = np.argsort(concatenate(parts).texts("id"), kind="stable")
    write_prepared(folder, lambda: iter(parts), order, {"structures": len(rows)})
    prepared = open_prepared(folder)
    verify(prepared)
    for i, row in enumerate(rows):
        assert_same(prepared.columns, i, row)
    ids = [prepared.columns.text("id", int(i)) for i in prepared.order]
    assert ids == sorted(r.id for r in rows)


def test_the_digest_depends_on_the_data_but_not_on_their_order(toy_structure):
    make_row = lambda i: row_from_atoms(toy_structure(i), ReadOptions(), f"x{i}", None)
    rows = [make_row(i) for i in range(5)]
    digest = lambda rows: digest_of(columns_from_rows(rows).arrays["digest"])
    assert digest(rows) == digest(rows[::-1])
    for change in (
        {"energy": rows[0].energy + 1e-5},
        {"id": "other"},
        {"total_charge": 1.0},
        {"positions": rows[0].positions + 1e-5},
        {"numbers": rows[0].numbers[::-1]},
        {"cell": np.eye(3)},
        {"spin": 3},
        {"forces": rows[0].forces + 1e-4},
        {"charges": rows[0].charges + 1e-4},
        {"charges": None},
        {"dipole": np.ones(3)},
        {"born_charges": np.ones((5, 3, 3))},
        {"cell": 9 * np.eye(3), "stress": np.ones(6)},
        {"tags": np.ones(5)},
    ):
        fields = {k: v for k, v in change.items() if k not in LABELS}
        labels = {k: v for k, v in change.items() if k in LABELS}
        changed = dataclasses.replace(rows[0].with_labels(**labels), **fields)
        changed = [changed, *rows[1:]]
        assert digest(changed) != digest(rows), change
    same = dataclasses.replace(rows[0], positions=rows[0].positions + 1e-9)
    assert digest([same, *rows[1:]]) == digest(rows)


@pytest.fixture
def folder(tmp_path, toy_structure):
    rows = [
        row_from_atoms(toy_structure(i), ReadOptions(), f"x{i}", None) for i in range(5)
    ]
    write_prepared(
        tmp_path,
        lambda: iter([columns_from_rows(rows)]),
        np.arange(5),
        {"structures": 5},
    )
    return tmp_path


def test_columns_are_memory_mapped(folder):
    prepared = open_prepared(folder)
    base = prepared.columns.arrays["positions"]
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap) or len(base) < 4096
    with pytest.raises(ValueError, match="read-only"):
        prepared.columns.values("positions", 0)[:] = 0


def test_a_dataset_without_header_is_unfinished(folder):
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
def test_invalid_headers_are_rejected(folder, change, message):
    path = folder / "dataset.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(BenchError, match=message):
        open_prepared(folder)
    path.write_text("{")
    with pytest.raises(BenchError, match="damaged"):
        open_prepared(folder)


def test_truncated_missing_and_changed_files_are_rejected(folder):
    path = folder / "forces.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(BenchError, match=r"forces.npy has \d+ of \d+ bytes"):
        open_prepared(folder)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BenchError, match="forces.npy has changed"):
        verify(open_prepared(folder))
    path.write_bytes(b"x" * len(content))
    with pytest.raises(BenchError, match="forces.npy cannot be read"):
        open_prepared(folder)
    path.unlink()
    with pytest.raises(BenchError, match="forces.npy cannot be read"):
        open_prepared(folder)
