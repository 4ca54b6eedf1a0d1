"""Published data beside the repository, against SOURCE.txt and other readers."""

import os
from pathlib import Path

import ase.db
import ase.io
import h5py
import numpy as np
import pytest
from ase.data import atomic_masses
from bench.dataset.filters import Filters
from bench.dataset.opening import load_for_training, open_dataset
from bench.dataset.preparing import prepare
from bench.dataset.request import PreparationRequest
from bench.dataset.summary import describe
from bench.exceptions import BenchError
from bench.sources import Reading

BESIDE = Path(__file__).parents[4].parent / "shared" / "data"
DATA = Path(os.environ.get("BENCH_DATA") or BESIDE)


@pytest.fixture
def folder(request):
    path = DATA / request.param
    if not path.exists():
        pytest.skip(f"{path} is not here: set BENCH_DATA to the folder of data")
    return path


def of(name):
    return pytest.mark.parametrize("folder", [name], indirect=True)


def prepared(folder, tmp_path, **wishes):
    filters = wishes.pop("filters", Filters())
    order = PreparationRequest(str(folder), Reading(**wishes), filters)
    header = prepare(order, tmp_path / "out")
    return header, open_dataset(str(tmp_path / "out"))


@of("omol25_aselmdb")
def test_rows_of_omol25_are_those_ase_reads(folder, tmp_path):
    header, data = prepared(folder, tmp_path)
    assert header["read"] == 60 + 60 + 40 + 10
    # The samples repeat calculations: 114 of them are distinct.
    sources = {}
    for path in sorted(folder.glob("*.aselmdb")):
        with ase.db.connect(path, type="aselmdb", readonly=True) as database:
            for row in database.select():
                id = row.data["source"].removesuffix("/orca.tar.zst")
                sources[id] = row
    assert data.ids == sorted(sources) and len(data) == 114
    assert header["left_out"] == {"repeats of another structure": 56}
    for sample in data.samples:
        row = sources[sample.id]
        np.testing.assert_array_equal(sample.structure.numbers, row.numbers)
        np.testing.assert_array_equal(sample.structure.positions, row.positions)
        np.testing.assert_allclose(sample.forces, row.forces, rtol=1e-6, atol=1e-7)
        assert sample.energy == row.energy
        assert sample.structure.total_charge == row.data["charge"]
        assert sample.structure.spin == row.data["spin"]
        # Löwdin charges add up to the total charge to 8e-6.
        assert abs(sample.charges.sum() - row.data["charge"]) < 2e-5


@of("odac25_format_fixture")
def test_rows_of_odac25_have_their_mof_and_tags(folder, tmp_path):
    header, data = prepared(folder, tmp_path, filters=Filters(recipe="odac25"))
    assert header["read"] == 40 and len(data) == 40
    assert len(set(data.groups)) == 4 and max(map(data.groups.count, data.groups)) == 10
    assert header["labels"] == dict(
        energy=40,
        forces=40,
        stress=0,
        charges=0,
        total_charge=0,
        spin=0,
        tags=40,
        dipole=0,
        born_charges=0,
    )
    tags = {t for s in data.samples for t in s.tags.tolist()}
    assert tags <= {0, 1, 2, 3, 4} and 0 in tags
    lowest = prepared(folder / "mof", tmp_path / "mof")[1]
    with ase.db.connect(folder / "mof" / "data.0000.aselmdb", type="aselmdb") as file:
        assert {s.energy for s in lowest.samples} == {r.energy for r in file.select()}


@of("qmof_format_fixture")
def test_the_published_files_of_qmof_agree(folder, tmp_path):
    header, data = prepared(folder, tmp_path)
    assert (header["read_as"], len(data)) == ("qmof", 12)
    none = [s.id for s in data.samples if s.energy is None]
    assert none == ["qmof-13f5324"]
    cifs = open_dataset(str(folder / "relaxed_structures"))
    assert cifs.ids == data.ids
    for mine, theirs in zip(data.samples, cifs.samples, strict=True):
        np.testing.assert_allclose(mine.charges, theirs.charges, atol=1e-6)
        np.testing.assert_array_equal(mine.structure.numbers, theirs.structure.numbers)
        lengths = [np.linalg.norm(s.structure.cell, axis=1) for s in (mine, theirs)]
        np.testing.assert_allclose(*lengths, rtol=1e-7)


@of("qmof")
def test_ten_thousand_mofs(folder, tmp_path):
    header, data = prepared(folder, tmp_path)
    assert (len(data), header["atoms"], len(header["elements"])) == (11039, 1135840, 78)
    assert header["labels"]["energy"] == 10101 and header["labels"]["charges"] == 11039
    with np.load(folder / "qmof_dev.npz") as file:
        i = int(np.flatnonzero(file["qmof_id"] == data.ids[5000])[0])
        begin, size = int(file["n_atoms"][:i].sum()), int(file["n_atoms"][i])
        sample = data.samples[5000]
        expected = file["frac"][begin : begin + size].astype(float) @ file["cell"][i]
        np.testing.assert_allclose(sample.structure.positions, expected, atol=1e-9)
        charges = file["pbe_ddec_charge"][begin : begin + size]
        np.testing.assert_array_equal(sample.charges, charges)


@of("core_ddec3")
def test_charges_alone_are_a_data_set(folder, tmp_path):
    header, data = prepared(folder, tmp_path)
    assert (len(data), header["atoms"], len(header["elements"])) == (1812, 268048, 74)
    assert header["labels"]["energy"] == 0 and "ddec3_charge" in describe(data)


@of("aimnet_charged_molecules")
def test_charged_molecules_of_aimnet(folder, tmp_path):
    _, data = prepared(folder, tmp_path)
    charges = [s.structure.total_charge for s in data.samples]
    assert len(data) == 195
    assert [charges.count(q) for q in (0, -1, 1)] == [95, 48, 37]
    for s in data.samples:
        assert abs(s.charges.sum() - s.structure.total_charge) < 9e-4
    with h5py.File(folder / "dataset.h5") as file:
        group = file["010"]
        sample = data.samples[data.ids.index(group["_id"][3].decode())]
        np.testing.assert_array_equal(sample.forces, group["forces"][3])
        assert sample.energy == group["energy"][3]
        assert sample.structure.spin == group["mult"][3]


@of("spice_dipeptides_les")
def test_a_singular_force_is_read_when_named(folder, tmp_path):
    names = dict(forces="force", charges="mbi_charges")
    header, data = prepared(folder, tmp_path, **names)
    assert len(data) == 550
    assert header["labels"]["forces"] == header["labels"]["charges"] == 550
    first = next(ase.io.iread(folder / "spice-dipep-dipolar_train.xyz"))
    sample = data.samples[data.ids.index("spice-dipep-dipolar_train/0000000")]
    np.testing.assert_allclose(sample.forces, first.arrays["force"], atol=1e-6)
    assert load_for_training(str(tmp_path / "out")).digest == header["digest"]


@of("golddac")
def test_golddac_has_names_groups_and_tags(folder, tmp_path):
    names = dict(energy="REF_energy", forces="REF_forces", id="name")
    header, data = prepared(folder, tmp_path, **names)
    assert (len(data), len(header["elements"])) == (162, 24)
    assert len(set(data.groups)) == 17 and header["labels"]["tags"] == 144
    sample = data.samples[data.ids.index("LITCIC_CO2_P_N_3.0-2.9")]
    assert sample.energy == -1002.23729844 and sample.group == "LITCIC"


@of("lode_charged_dimers")
def test_parts_of_a_charge_add_up(folder, tmp_path):
    _, data = prepared(folder, tmp_path, total_charge="chargeA+chargeB")
    assert len(data) == 60
    assert {s.structure.total_charge for s in data.samples} <= {-1.0, 0.0, 1.0}


@of("water_deepmd")
def test_water_of_deepmd(folder, tmp_path):
    _, data = prepared(folder, tmp_path)
    assert len(data) == 400 and len(set(data.groups)) == 4
    place = folder / "data_1" / "set.001"
    sample = data.samples[data.ids.index("data_1/set.001/0000007")]
    assert sample.energy == np.load(place / "energy.npy")[7]
    expected = np.load(place / "force.npy")[7].reshape(-1, 3)
    np.testing.assert_array_equal(sample.forces, expected)
    assert np.bincount(sample.structure.numbers)[[1, 8]].tolist() == [128, 64]


@of("odac23_ddec_mofs")
def test_charges_of_cifs_in_a_zip(folder, tmp_path):
    header, data = prepared(folder, tmp_path)
    assert (len(data), header["labels"]["charges"]) == (135, 129)
    assert all(s.structure.cell is not None for s in data.samples[:3])


@of("qmof_hse06_vasprun")
def test_a_run_of_vasp(folder, tmp_path):
    _, data = prepared(folder, tmp_path)
    (sample,) = data.samples
    assert len(sample.structure) == 30
    assert round(sample.energy, 3) == -223.694 and sample.forces is not None


@of("efa_profiles")
def test_placeholder_forces_are_named(folder, tmp_path):
    header, data = prepared(folder / "sn2_F_I.npz", tmp_path)
    assert header["zero_force_structures"] == 401
    assert "--without forces" in describe(data)
    assert len(prepared(folder / "two_atoms.npz", tmp_path / "two")[1]) == 10_000


@of("ncia")
def test_interaction_energies_are_read_when_named(folder, tmp_path):
    dimers = str(folder / "IHB100x10.extxyz.xz")
    order = PreparationRequest(dimers, Reading(), Filters())
    with pytest.raises(BenchError, match=r"has an energy, forces, .*interaction_en"):
        prepare(order, tmp_path / "none")
    names = dict(energy="interaction_energy", tags="fragment")
    header, data = prepared(dimers, tmp_path, **names)
    assert len(data) == header["labels"]["energy"] == 1000
    assert {s.structure.total_charge for s in data.samples} == {-2.0, -1.0, 1.0}
    # Ten distances of each dimer; some dimers are of one pair of molecules.
    assert len(set(data.groups)) <= 100
    sample = data.samples[data.ids.index("01.001_080")]
    assert sample.energy == -0.5765259129
    assert sample.structure.total_charge == 1.0 and set(sample.tags.tolist()) == {0, 1}
    np.testing.assert_array_equal(
        sample.structure.positions[0], [-1.52148338, -1.71648841, 0.49504366]
    )


@of("water_bec_pbc")
def test_born_charges_of_a_liquid_are_polarization_by_displacement(folder, tmp_path):
    """The sum rule holds; turning a molecule turns its dipole in this order only."""
    header, data = prepared(folder, tmp_path, born_charges="apt")
    assert header["labels"]["born_charges"] == header["labels"]["forces"] == 23
    turned = {order: [] for order in ("as read", "exchanged")}
    dipoles = []
    for sample in data.samples:
        tensors, numbers = sample.born_charges, sample.structure.numbers
        assert np.abs(tensors.sum(0)).max() < 0.06  # e, of 192 atoms
        for water, bonds in waters(sample.structure):
            center = atomic_masses[numbers[water]] @ bonds / 18.015
            turns = np.cross(np.eye(3)[:, None], bonds - center)
            dipoles.append(np.cross(np.eye(3), bonds.sum(0)))
            sums = ("jab,wjb->wa", "jba,wjb->wa")
            for order, rule in zip(turned, sums, strict=True):
                turned[order].append(np.einsum(rule, tensors[water], turns))
    misfit = {order: misfit_of(dipoles, found) for order, found in turned.items()}
    assert misfit["as read"] < 0.9 * misfit["exchanged"]


def waters(structure):
    """Oxygen and hydrogens of each molecule, and the vectors from the oxygen, Å."""
    oxygens = np.flatnonzero(structure.numbers == 8)
    hydrogens = np.flatnonzero(structure.numbers == 1)
    edge = structure.cell[0, 0]
    apart = structure.positions[hydrogens] - structure.positions[oxygens, None]
    apart -= edge * np.rint(apart / edge)
    nearest = np.linalg.norm(apart, axis=2).argmin(0)
    for i, oxygen in enumerate(oxygens):
        (own,) = np.nonzero(nearest == i)
        if len(own) == 2:
            bonds = np.concatenate([np.zeros((1, 3)), apart[i, own]])
            yield np.array([oxygen, *hydrogens[own]]), bonds


def misfit_of(expected, found):
    """Root of the mean square that is left of a fit by a factor."""
    expected, found = np.ravel(expected), np.ravel(found)
    factor = expected @ found / (expected @ expected)
    return np.mean((found - factor * expected) ** 2) ** 0.5


@of("runner_4g")
def test_a_format_that_is_not_read_is_refused(folder, tmp_path):
    sources = {folder: "no file of a known format", "carbon_chain.data": "no format"}
    for source, message in sources.items():
        with pytest.raises(BenchError, match=message) as caught:
            prepared(folder / source, tmp_path)
        assert str(folder / source) in str(caught.value)
        assert "\n" not in str(caught.value) and "--format" in str(caught.value)
        assert not (tmp_path / "out").exists()


NAMES = {
    "cmm_ion_scans": dict(energy="eda_int"),
    "golddac": dict(energy="REF_energy", forces="REF_forces", id="name"),
    "lode_charged_dimers": dict(total_charge="chargeA+chargeB"),
    "ncia": dict(energy="interaction_energy"),
    "sapt10k": dict(energy="interaction_energy"),
    "spice_dipeptides_les": dict(forces="force", charges="mbi_charges"),
    "water_bec_pbc": dict(born_charges="apt"),
}
"""Labels that have other names than usual; some energies are of interaction only."""


COUNTS = {
    "aimnet_charged_molecules": 195,
    "cmm_ion_scans": 9174,
    "core_ddec3": 1812,
    "efa_profiles": 10_000 + 2500 + 1000 + 401,
    "golddac": 162,
    "lode_charged_dimers": 60,
    "ncia": 1000 + 3750 + 4420,
    "odac23_ddec_mofs": 135,
    "odac25_format_fixture": 40,
    "omol25_aselmdb": 114,
    "qmof": 11_039,
    "qmof_format_fixture": 12,
    "qmof_hse06_vasprun": 1,
    "sapt10k": 6655,
    "spice_bec": 121 + 81,
    "spice_dipeptides_les": 550,
    "water_bec_pbc": 23,
    "water_deepmd": 400,
    "water_rpbe_d3_les": 50,
}
"""Structures as SOURCE.txt says; of OMol25 those that are no repeats."""

NOT_READ = {"runner_4g": "RuNNer's own format has no reader"}
"""Folders that are refused, and why."""


def test_no_folder_was_forgotten():
    if not DATA.exists():
        pytest.skip(f"{DATA} is not here: set BENCH_DATA to the folder of data")
    assert {p.name for p in DATA.iterdir() if p.is_dir()} <= {*COUNTS, *NOT_READ}


@pytest.mark.parametrize("folder", COUNTS, indirect=True)
def test_every_folder_is_prepared_and_has_a_readable_summary(folder, tmp_path):
    header, data = prepared(folder, tmp_path, **NAMES.get(folder.name, {}))
    assert header["rejected"] == 0 and len(data) == COUNTS[folder.name]
    lines = describe(data).splitlines()
    assert f"{COUNTS[folder.name]} " in lines[0] and "digest" in lines[0]
    told = {line.split()[0]: line[12:] for line in lines[1:]}
    assert {"atoms", "elements", "charges", "labels", "floors", "from"} <= set(told)
    assert f"{header['atoms']} in all" in told["atoms"]
    kinds = ("energy", "forces", "stress", "charges")
    named = {label.split()[0] for label in told["labels"].split(", ")}
    assert all((header["labels"][k] > 0) == (k in named) for k in kinds)
    assert ("eV/atom" in told.get("spread", "")) == (header["labels"]["energy"] > 0)
    assert max(map(len, lines)) < 2500
