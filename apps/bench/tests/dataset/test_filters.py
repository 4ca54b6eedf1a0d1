"""Filters and recipes of the published subsets, compared with lists made by hand."""

import dataclasses
from typing import get_args

import numpy as np
import pytest
from bench.dataset.columns import columns_from_rows
from bench.dataset.composition import count_elements
from bench.dataset.filters import (
    LOW_SPIN_PATH,
    RECIPES,
    Candidates,
    drop_labels,
    exclusion_reason,
    frequent_elements,
    lowest_energy,
    select_jointly,
)
from bench.settings.preparation import Filters, RecipeName
from bench.sources import Row
from hypothesis import given
from hypothesis import strategies as st


def row(i, symbols=(1, 8), energy=0.0, group="g", info=None, **labels):
    positions = np.arange(3.0 * len(symbols)).reshape(-1, 3)
    numbers = np.array(symbols)
    labels["energy"] = energy
    return Row(f"r{i:02d}", group, numbers, positions, labels=labels, info=info or {})


def candidates_of(rows):
    columns = columns_from_rows(rows)
    _, groups = np.unique(columns.texts("group"), return_inverse=True)
    energies = columns.arrays["energy"]
    return Candidates(energies, groups, columns.texts("id"), count_elements(columns))


def accepted_ids(rows, keep):
    return [r.id for r, k in zip(rows, keep(candidates_of(rows)), strict=True) if k]


def test_lowest_energies_of_each_group_are_kept():
    rows = [
        row(0, energy=-1.0, group="a"),
        row(1, energy=-3.0, group="b"),
        row(2, energy=-2.0, group="a"),
        row(3, energy=None, group="a"),
        row(4, energy=-2.0, group="a"),
        row(5, energy=None, group="c"),
    ]
    assert accepted_ids(rows, lowest_energy(1)) == ["r01", "r02"]
    assert accepted_ids(rows, lowest_energy(2)) == ["r01", "r02", "r04"]
    assert accepted_ids(rows, lowest_energy(9)) == ["r00", "r01", "r02", "r04"]
    # Ties are decided by the id, not by the order of the source.
    assert accepted_ids(rows[::-1], lowest_energy(1)) == ["r02", "r01"]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(-3, 3).map(float)), min_size=1
    ),
    st.integers(1, 4),
)
def test_lowest_energies_agree_with_sorting_each_group(entries, count):
    rows = [row(i, energy=e, group=g) for i, (g, e) in enumerate(entries[:90])]
    expected = []
    for group in "abc":
        members = sorted(
            (r for r in rows if r.group == group), key=lambda r: (r.energy, r.id)
        )
        expected += [r.id for r in members[:count]]
    assert accepted_ids(rows, lowest_energy(count)) == sorted(expected)


def test_rare_elements_are_removed_repeatedly():
    rows = [row(i, (1, 8)) for i in range(10)] + [row(10, (1, 6, 6)), row(11, (6, 7))]
    # Without the structure that contains nitrogen, carbon is rare too.
    assert accepted_ids(rows, frequent_elements(3)) == [f"r{i:02d}" for i in range(10)]
    assert len(accepted_ids(rows, frequent_elements(1))) == 12
    assert accepted_ids(rows, frequent_elements(20)) == []


def test_reasons_for_leaving_rows_out():
    first = row(0, total_charge=1.0, spin=2)
    neutral = row(1, energy=None)
    pushed = row(2, forces=np.array([[0.0, 0, 0], [3.0, 0, -4.0]]))
    cases = [
        (Filters(max_atoms=1), first, "more than 1 atoms"),
        (Filters(min_atoms=3), first, "fewer than 3 atoms"),
        (Filters(total_charges=(0.0,)), first, "other total charge"),
        (Filters(total_charges=(0.0, 1.0)), first, None),
        (Filters(total_charges=(0.0,)), neutral, None),
        (Filters(spins=(1,)), first, "other spin"),
        (Filters(spins=(1,)), neutral, "other spin"),
        (Filters(require=("energy",)), neutral, "no energy"),
        (Filters(require=("energy",)), first, None),
        (Filters(max_force=4.9), pushed, "a force above 4.9 eV/Å"),
        (Filters(max_force=5.0), pushed, None),
        (Filters(max_force=1.0), first, None),
    ]
    for filters, candidate, reason in cases:
        assert exclusion_reason(candidate, filters) == reason


def test_labels_can_be_dropped():
    labeled = row(0, forces=np.zeros((2, 3)))
    energy_only = drop_labels(labeled, Filters(without=("forces",)))
    assert energy_only.forces is None and energy_only.energy == 0.0


def test_every_recipe_has_a_name_in_the_settings():
    assert set(RECIPES) == set(get_args(RecipeName))


def test_unknown_names_are_rejected_with_a_suggestion():
    with pytest.raises(ValueError, match="'qmof', 'odac25' or 'omol25'"):
        Filters(recipe="omol")
    with pytest.raises(ValueError, match="no label 'force'; did you mean 'forces'"):
        Filters(require=("force",))


def selected(name, rows):
    filters = Filters(recipe=name)
    rows = [r for r in rows if exclusion_reason(r, filters) is None]
    return (
        [rows[i].id for i in select_jointly(candidates_of(rows), filters)[0]]
        if rows
        else []
    )


def test_odac25_keeps_ten_frames_of_each_pristine_mof():
    frames = [
        row(i, (6,) * 10, energy=-float(i), group=mof, info={"mof_name": mof})
        for i, mof in enumerate(["ABC"] * 12 + ["ABC_0.1"] * 3 + ["DEF"] * 2)
    ]
    large = dataclasses.replace(
        frames[-1], numbers=np.full(617, 6), positions=np.zeros((617, 3)), id="large"
    )
    nameless = dataclasses.replace(frames[-1], info={}, id="nameless")
    expected = [f"r{i:02d}" for i in range(2, 12)] + ["r15", "r16"]
    assert selected("odac25", [*frames, large, nameless]) == expected


def test_omol25_keeps_the_lowest_frame_of_each_low_spin_molecule():
    def step(i, molecule, energy, where=LOW_SPIN_PATH):
        info = {"source": f"{where}{molecule}/step{i}/orca.tar.zst"}
        return row(i, (6,) * 6, energy, group=f"{where}{molecule}", info=info)

    rows = [
        step(0, "1_0_1", -1.0),
        step(1, "1_0_1", -5.0),
        step(2, "2_0_1", -2.0),
        step(3, "2_0_1", -1.5),
        step(4, "3_0_5", -9.0, "omol/metal_organics/outputs_072324/"),
        row(5, (6,) * 6),
    ]
    assert selected("omol25", rows) == ["r01", "r02"]
    # The six carbon atoms of one molecule are fewer than the required ten.
    assert selected("omol25", rows[:2]) == []


def test_qmof_needs_energy_and_charges():
    charged = dict(charges=np.zeros(12))
    rows = [
        row(0, (6,) * 12, **charged),
        row(1, (6,) * 12, energy=None, **charged),
        row(2, (6,) * 12),
        row(3, (6,) * 11 + (92,), **charged),
    ]
    assert selected("qmof", rows) == ["r00"]


def test_size_limits_of_the_recipes():
    assert {k: r.max_atoms for k, r in RECIPES.items()} == {
        "qmof": 500,
        "odac25": 616,
        "omol25": 350,
    }


def test_a_sample_depends_only_on_the_ids():
    rows = [row(i, energy=float(i)) for i in range(20)]
    filters = Filters(sample=6)

    def drawn(rows):
        sampled, left_out = select_jointly(candidates_of(rows), filters)
        assert left_out == {"not drawn": 14}
        return sorted(rows[i].id for i in sampled)

    assert drawn(rows) == drawn(rows[::-1])
    assert len(set(drawn(rows))) == 6
    assert drawn(rows) != [f"r{i:02d}" for i in range(6)]
    sampled, left_out = select_jointly(candidates_of(rows), Filters(sample=50))
    assert len(sampled) == 20 and not left_out
