"""What is said of a data set that is likely to be a mistake."""

import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from bench.dataset.columns import columns_from_rows
from bench.dataset.duplicates import find_duplicates
from bench.dataset.opening import Dataset, load_for_training, open_dataset
from bench.dataset.preparing import prepare
from bench.dataset.summary import describe
from bench.dataset.warnings import warnings_of
from bench.exceptions import BenchError
from bench.experiment.grid import execute_runs, output_folder
from bench.settings.preparation import PreparationSettings
from bench.sources import ReadOptions, Row

DATA = Path(__file__).parents[1] / "data"


def prepared(path, out, keys=None, **read):
    settings = PreparationSettings(source=str(path), keys=keys or {}, read=read)
    header = prepare(settings, out)
    return header, open_dataset(str(out))


def test_unread_labels_are_listed_with_the_option_that_reads_them(tmp_path):
    expected = "`force` of .* is not read: `bench prepare` with `-o keys.forces=force`"
    (warning,) = warnings_of(load_for_training(str(DATA / "force.xyz")))
    assert re.search(expected, warning)
    assert warning in describe(open_dataset(str(DATA / "force.xyz"), strict=False))
    header, data = prepared(
        DATA / "force.xyz", tmp_path / "out", keys={"forces": "force"}
    )
    assert header["labels"]["forces"] == 1 and warnings_of(data) == []


def test_no_key_is_chosen_among_several(tmp_path):
    """Charges of two molecules, whose sum is the total charge."""
    path = tmp_path / "names.xyz"
    path.write_text("1\nchargeA=1 chargeB=-1 energy=-1\nH 0 0 0\n")
    (warning,) = warnings_of(load_for_training(str(path)))
    assert re.search("`chargeA`, `chargeB` of .* are not read", warning)
    assert "`-o keys.total_charge=KEY` reads one of them, `chargeA+char" in warning


def test_keys_of_other_types_are_not_suggested(tmp_path):
    """Text is not a charge, a scalar not a force; read labels need no other key."""
    path = tmp_path / "names.xyz"
    path.write_text(
        "2\nProperties=species:S:1:pos:R:3:mulliken_charges:R:1 energy=-1 "
        'formation_energy=-2 charge_model=ddec max_force=1 net_charge=1 bec="1 2 3"\n'
        "H 0 0 0 0.5\nH 0 0 0.8 0.5\n"
    )
    warnings = warnings_of(load_for_training(str(path)))
    assert [re.search("with `(.*)` reads", warning)[1] for warning in warnings] == [
        "-o keys.charges=mulliken_charges",
        "-o keys.total_charge=net_charge",
        "-o keys.born_charges=bec",
    ]


def test_virials_are_converted_to_stress(tmp_path):
    """Minus diag(51.2, 102.4, 153.6) eV over 512 Å^3."""
    header, data = prepared(
        DATA / "virials.xyz", tmp_path / "out", keys={"virial": "virials"}
    )
    np.testing.assert_allclose(data.samples[0].stress, [-0.1, -0.2, -0.3, 0, 0, 0])
    assert header["labels"]["stress"] == 1 and header["label_keys"] == [
        "energy=energy",
        "forces=forces",
        "stress=virials",
    ]
    text = describe(data)
    # 1 eV/Å^3 is 160.2177 GPa.
    assert "stress 24.5 GPa RMS, largest component 48.1" in text
    assert "warning" not in text


def test_virials_read_as_stress_are_reported(tmp_path):
    _, data = prepared(
        DATA / "virials.xyz", tmp_path / "out", keys={"stress": "virials"}
    )
    (warning,) = warnings_of(data)
    assert "stresses reach 2.461e+04 GPa: if they are virials (eV)" in warning
    assert "largest component 2.46e+04" in describe(data)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("GPa", 1 / 160.21766208),
        ("kbar", 0.1 / 160.21766208),
        ("eV/Å^3", 1),
        ("eV/A^3", 1),
    ],
)
def test_units_of_stress(tmp_path, unit, factor):
    options = dict(keys={"stress": "virials"}, stress_unit=unit, length_unit="bohr")
    _, data = prepared(DATA / "virials.xyz", tmp_path / "out", **options)
    expected = factor * np.array([51.2, 102.4, 153.6, 0, 0, 0])
    np.testing.assert_allclose(data.samples[0].stress, expected, rtol=1e-6)


def test_virials_are_in_the_energy_unit(tmp_path):
    options = dict(
        keys={"virial": "virials"}, energy_unit="hartree", length_unit="bohr"
    )
    _, data = prepared(DATA / "virials.xyz", tmp_path / "out", **options)
    # One hartree over a cubic bohr is 183.6315 eV/Å^3.
    np.testing.assert_allclose(
        data.samples[0].stress[:3], [-18.363, -36.726, -55.089], atol=1e-2
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(keys={"virial": "v", "stress": "s"}),
            "read from 's' or from the virial 'v'",
        ),
        (dict(keys={"virial": "v"}, stress_unit="GPa"), "virial 'v' is an energy"),
        (dict(keys={"energi": "E"}), "no label 'energi'; did you mean 'energy'"),
        (dict(stress_unit="gpa"), "stress_unit\n.*'GPa'"),
    ],
)
def test_contradicting_options_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        ReadOptions(**options)


def test_a_stress_without_a_cell_is_not_used(tmp_path):
    path = tmp_path / "open.xyz"
    atoms = ase.io.read(DATA / "virials.xyz")
    atoms.pbc = False
    ase.io.write(path, atoms, format="extxyz")
    with pytest.raises(BenchError, match="'virials' of .* structures without a cell"):
        prepared(path, tmp_path / "out", keys={"virial": "virials"})
    atoms.info["stress"] = np.eye(3)
    ase.io.write(path, atoms, format="extxyz")
    assert "the stress of 1 structures without a cell is not used" in "".join(
        warnings_of(load_for_training(str(path)))
    )


def test_charges_that_do_not_sum_to_the_total_charge_are_counted():
    (warning,) = warnings_of(load_for_training(str(DATA / "ion_charges.xyz")))
    assert "charges of 1 of 1 structures" in warning
    assert "largest difference is +1 e, in 0000000. No total charge is given" in warning
    assert "-o keys.total_charge=KEY" in warning


def water(id, total, charges):
    positions = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]) + len(id)
    return Row(
        id,
        id,
        [8, 1, 1],
        positions,
        labels=dict(energy=0.0, total_charge=total, charges=charges),
    )


def test_charges_compared_with_a_given_total_charge(tmp_path):
    rows = [
        water("a", 1, [0.2, 0.4, 0.4]),
        water("bb", -1, [-0.2, 0.4, 0.4]),
        water("ccc", 0, [-0.8, 0.4, 0.36]),
        water("dddd", 0, [-0.8, 0.4, 0.395]),
    ]
    (warning,) = warnings_of(Dataset("made", columns_from_rows(rows), np.arange(4)))
    assert "charges of 2 of 4 structures" in warning
    assert "largest difference is +1.6 e, in bb" in warning
    assert "No total charge" not in warning


def displaced(rng, count):
    """Returns copies of a structure, each with one coordinate moved by >= 0.001 Å."""
    base = 5 * rng.uniform(size=(20, 3))
    positions = np.repeat(base[None], count, 0)
    for i in range(1, count):
        positions[i, i % 20, i % 3] += 0.001 * i
    return positions


def test_duplicates_are_equal_up_to_rounding():
    rng = np.random.default_rng(0)
    cell = 6 * np.eye(3)
    make = lambda i, x, n=(1, 6) * 10, c=cell: Row(f"{i:03d}", f"{i}", n, x, c)
    positions = displaced(rng, 30)
    rows = [make(i, x) for i, x in enumerate(positions)]
    single = positions[3].astype(np.float32)
    rows += [
        make(30, single),
        make(31, np.round(positions[7], 6)),
        make(32, positions[3] - 1e-7),
        # These differ from all others.
        make(33, positions[5], (6, 1) * 10),
        make(34, positions[5], c=cell + np.diag([0, 0, 0.001])),
        make(35, positions[5], c=None),
    ]
    groups = find_duplicates(columns_from_rows(rows))
    assert [g.tolist() for g in groups] == [[3, 30, 32], [7, 31]]
    assert (
        find_duplicates(columns_from_rows(rows[:30])) == []
        and find_duplicates(columns_from_rows([])) == []
    )


def test_many_copies_take_linear_time():
    """There are 200 million pairs."""
    rows = [Row("a", "a", [1, 1], [[0, 0, 0], [0, 0, 0.7]])] * 20_000
    (group,) = find_duplicates(columns_from_rows(rows))
    assert len(group) == 20_000


class Stop(Exception):
    """Stops a grid before it trains."""


def test_warnings_are_printed_before_training(tmp_path, grid_of):
    warnings = []

    def stop(sentence):
        warnings.append(sentence)
        raise Stop

    for name, splits in (("repeated", ("random",)), ("force", ("cluster",))):
        grid = grid_of(DATA / f"{name}.xyz").model_copy(update={"splits": splits})
        with output_folder(tmp_path / name, grid) as folder, pytest.raises(Stop):
            execute_runs(grid, folder, lambda *_: None, warn=stop)
    assert "4 structures are not unique" in warnings[0]
    assert "`-o keys.forces=force` reads it" in warnings[1]


def test_duplicates_are_counted_and_listed(tmp_path):
    path = DATA / "repeated.xyz"
    (warning,) = warnings_of(load_for_training(str(path)))
    assert "4 structures are not unique, of 1 geometry, such as 0000000" in warning
    assert "a random split can test on training structures" in warning
    assert warnings_of(load_for_training(str(path)), split_at_random=False) == []
    _, data = prepared(path, tmp_path / "out")
    assert f"warning          {warning}" in describe(data)
    # Splits do not separate the structures of a group.
    frames = ase.io.read(path, ":")
    for atoms in frames:
        atoms.info["group"] = "water"
    ase.io.write(tmp_path / "group.xyz", frames, format="extxyz")
    (warning,) = warnings_of(load_for_training(str(tmp_path / "group.xyz")))
    assert "random split" not in warning
