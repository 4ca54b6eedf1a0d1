"""Published data sets, compared with their SOURCE.txt and with other readers."""

import os
from pathlib import Path

import ase.db
import ase.io
import h5py
import numpy as np
import pytest
from ase.data import atomic_masses
from bench.dataset.opening import load_for_training, open_dataset
from bench.dataset.preparing import prepare
from bench.dataset.summary import describe
from bench.exceptions import BenchError
from bench.settings.preparation import Filters, PreparationSettings

DEFAULT_DATA = Path(__file__).parents[4].parent / "shared" / "data"
DATA = Path(os.environ.get("BENCH_DATA") or DEFAULT_DATA)


@pytest.fixture
def folder(request):
    path = DATA / request.param
    if not path.exists():
        pytest.skip(f"{path} is not here: set BENCH_DATA to the folder of data")
    return path


def data_set(name):
    return pytest.mark.parametrize("folder", [name], indirect=True)


def prepared(folder, tmp_path, **keys):
    filters = keys.pop("filters", Filters())
    request = PreparationSettings(source=str(folder), keys=keys, filters=filters)
    header = prepare(request, tmp_path / "out")
    return header, open_dataset(str(tmp_path / "out"))


@data_set("omol25_aselmdb")
def test_omol25_rows_agree_with_ase(folder, tmp_path):
    header, data = prepared(folder, tmp_path)
    assert header["read"] == 60 + 60 + 40 + 10
    # The samples contain duplicates: 114 of them are distinct.
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


@data_set("odac25_format_fixture")
def test_odac25_rows_have_mof_and_tags(folder, tmp_path):
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
        magnetic_moments=0,
    )
    tags = {t for s in data.samples for t in s.tags.tolist()}
    assert tags <= {0, 1, 2, 3, 4} and 0 in tags
    lowest = prepared(folder / "mof", tmp_path / "mof")[1]
    with ase.db.connect(folder / "mof" / "data.0000.aselmdb", type="aselmdb") as file:
        assert {s.energy for s in lowest.samples} == {r.energy for r in file.select()}


@data_set("qmof_format_fixture")
def test_qmof_json_and_cifs_agree(folder, tmp_path):
    header, data = prepared(folder, tmp_path)
    assert (header["read_as"], len(data)) == ("qmof", 12)
    none = [s.id for s in data.samples if s.energy is None]
    assert none == ["qmof-13f5324"]
    cifs = open_dataset(str(folder / "relaxed_structures"))
    assert cifs.ids == data.ids
    for sample, other in zip(data.samples, cifs.samples, strict=True):
        np.testing.assert_allclose(sample.charges, other.charges, atol=1e-6)
        np.testing.assert_array_equal(sample.structure.numbers, other.structure.numbers)
        lengths = [np.linalg.norm(s.structure.cell, axis=1) for s in (sample, other)]
        np.testing.assert_allclose(*lengths, rtol=1e-7)


@data_set("qmof")
def test_qmof_arrays(folder, tmp_path):
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


@data_set("core_ddec3")
def test_data_set_with_charges_only(folder, tmp_path):
    header, data = prepared(folder, tmp_path)
    assert (len(data), header["atoms"], len(header["elements"])) == (1812, 268048, 74)
    assert header["labels"]["energy"] == 0 and "ddec3_charge" in describe(data)


@data_set("aimnet_charged_molecules")
def test_aimnet_charged_molecules(folder, tmp_path):
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


@data_set("spice_dipeptides_les")
def test_keys_of_forces_and_charges_can_be_given(folder, tmp_path):
    names = dict(forces="force", charges="mbi_charges")
    header, data = prepared(folder, tmp_path, **names)
    assert len(data) == 550
    assert header["labels"]["forces"] == header["labels"]["charges"] == 550
    first = next(ase.io.iread(folder / "spice-dipep-dipolar_train.xyz"))
    sample = data.samples[data.ids.index("spice-dipep-dipolar_train/0000000")]
    np.testing.assert_allclose(sample.forces, first.arrays["force"], atol=1e-6)
    assert load_for_training(str(tmp_path / "out")).digest == header["digest"]


@data_set("golddac")
def test_golddac_has_ids_groups_and_tags(folder, tmp_path):
    names = dict(energy="REF_energy", forces="REF_forces", id="name")
    header, data = prepared(folder, tmp_path, **names)
    assert (len(data), len(header["elements"])) == (162, 24)
    assert len(set(data.groups)) == 17 and header["labels"]["tags"] == 144
    sample = data.samples[data.ids.index("LITCIC_CO2_P_N_3.0-2.9")]
    assert sample.energy == -1002.23729844 and sample.group == "LITCIC"


@data_set("lode_charged_dimers")
def test_total_charge_is_a_sum_of_two_keys(folder, tmp_path):
    _, data = prepared(folder, tmp_path, total_charge="chargeA+chargeB")
    assert len(data) == 60
    assert {s.structure.total_charge for s in data.samples} <= {-1.0, 0.0, 1.0}


@data_set("water_deepmd")
def test_deepmd_water(folder, tmp_path):
    _, data = prepared(folder, tmp_path)
    assert len(data) == 400 and len(set(data.groups)) == 4
    directory = folder / "data_1" / "set.001"
    sample = data.samples[data.ids.index("data_1/set.001/0000007")]
    assert sample.energy == np.load(directory / "energy.npy")[7]
    expected = np.load(directory / "force.npy")[7].reshape(-1, 3)
    np.testing.assert_array_equal(sample.forces, expected)
    assert np.bincount(sample.structure.numbers)[[1, 8]].tolist() == [128, 64]


@data_set("odac23_ddec_mofs")
def test_zip_of_cifs_with_charges(folder, tmp_path):
    header, data = prepared(folder, tmp_path)
    assert (len(data), header["labels"]["charges"]) == (135, 129)
    assert all(s.structure.cell is not None for s in data.samples[:3])


@data_set("qmof_hse06_vasprun")
def test_vasprun(folder, tmp_path):
    _, data = prepared(folder, tmp_path)
    (sample,) = data.samples
    assert len(sample.structure) == 30
    assert round(sample.energy, 3) == -223.694 and sample.forces is not None


@data_set("efa_profiles")
def test_zero_forces_are_reported(folder, tmp_path):
    header, data = prepared(folder / "sn2_F_I.npz", tmp_path)
    assert header["zero_force_structures"] == 401
    assert "-o filters.without=[forces]" in describe(data)
    assert len(prepared(folder / "two_atoms.npz", tmp_path / "two")[1]) == 10_000


@data_set("ncia")
def test_interaction_energies_need_a_key(folder, tmp_path):
    dimers = str(folder / "IHB100x10.extxyz.xz")
    request = PreparationSettings(source=dimers)
    message = r"to train on \(energy, forces, .*interaction_en"
    with pytest.raises(BenchError, match=message):
        prepare(request, tmp_path / "none")
    names = dict(energy="interaction_energy", tags="fragment")
    header, data = prepared(dimers, tmp_path, **names)
    assert len(data) == header["labels"]["energy"] == 1000
    assert {s.structure.total_charge for s in data.samples} == {-2.0, -1.0, 1.0}
    # Ten distances per dimer; some dimers consist of the same pair of molecules.
    assert len(set(data.groups)) <= 100
    sample = data.samples[data.ids.index("01.001_080")]
    assert sample.energy == -0.5765259129
    assert sample.structure.total_charge == 1.0 and set(sample.tags.tolist()) == {0, 1}
    np.testing.assert_array_equal(
        sample.structure.positions[0], [-1.52148338, -1.71648841, 0.49504366]
    )


@data_set("water_bec_pbc")
def test_born_charge_index_order_in_liquid_water(folder, tmp_path):
    """The sum rule holds; dipoles rotate with molecules in this index order only."""
    header, data = prepared(folder, tmp_path, born_charges="apt")
    assert header["labels"]["born_charges"] == header["labels"]["forces"] == 23
    rotated = {order: [] for order in ("as read", "exchanged")}
    dipoles = []
    for sample in data.samples:
        tensors, numbers = sample.born_charges, sample.structure.numbers
        assert np.abs(tensors.sum(0)).max() < 0.06  # e, of 192 atoms
        for water, bonds in waters(sample.structure):
            center = atomic_masses[numbers[water]] @ bonds / 18.015
            rotations = np.cross(np.eye(3)[:, None], bonds - center)
            dipoles.append(np.cross(np.eye(3), bonds.sum(0)))
            sums = ("jab,wjb->wa", "jba,wjb->wa")
            for order, rule in zip(rotated, sums, strict=True):
                rotated[order].append(np.einsum(rule, tensors[water], rotations))
    residuals = {
        order: fit_residual(dipoles, actual) for order, actual in rotated.items()
    }
    assert residuals["as read"] < 0.9 * residuals["exchanged"]


def waters(structure):
    """Yields indices of O, H, H of each molecule, and vectors from the oxygen, Å."""
    oxygens = np.flatnonzero(structure.numbers == 8)
    hydrogens = np.flatnonzero(structure.numbers == 1)
    edge = structure.cell[0, 0]
    vectors = structure.positions[hydrogens] - structure.positions[oxygens, None]
    vectors -= edge * np.rint(vectors / edge)
    nearest = np.linalg.norm(vectors, axis=2).argmin(0)
    for i, oxygen in enumerate(oxygens):
        (bonded,) = np.nonzero(nearest == i)
        if len(bonded) == 2:
            bonds = np.concatenate([np.zeros((1, 3)), vectors[i, bonded]])
            yield np.array([oxygen, *hydrogens[bonded]]), bonds


def fit_residual(expected, actual):
    """Returns the root mean square residual of a fit by one factor."""
    expected, actual = np.ravel(expected), np.ravel(actual)
    factor = expected @ actual / (expected @ expected)
    return np.mean((actual - factor * expected) ** 2) ** 0.5


@data_set("runner_4g")
def test_unsupported_format_is_rejected(folder, tmp_path):
    sources = {
        folder: "no file of a known format",
        "carbon_chain.data": "not match a format",
    }
    for source, message in sources.items():
        with pytest.raises(BenchError, match=message) as caught:
            prepared(folder / source, tmp_path)
        assert str(folder / source) in str(caught.value)
        assert "\n" not in str(caught.value) and "read.format" in str(caught.value)
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
"""Keys of labels other than the defaults; some energies are interaction energies."""


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
"""Numbers of structures from SOURCE.txt; for OMol25 without duplicates."""

NOT_READ = {"runner_4g": "the RuNNer format has no reader"}
"""Folders that cannot be read, and the reason."""


def test_every_folder_is_listed():
    if not DATA.exists():
        pytest.skip(f"{DATA} is not here: set BENCH_DATA to the folder of data")
    assert {p.name for p in DATA.iterdir() if p.is_dir()} <= {*COUNTS, *NOT_READ}


@pytest.mark.parametrize("folder", COUNTS, indirect=True)
def test_every_folder_is_prepared_and_described(folder, tmp_path):
    header, data = prepared(folder, tmp_path, **NAMES.get(folder.name, {}))
    assert header["rejected"] == 0 and len(data) == COUNTS[folder.name]
    lines = describe(data).splitlines()
    assert f"{COUNTS[folder.name]} " in lines[0] and "digest" in lines[0]
    sections = {line.split()[0]: line[12:] for line in lines[1:]}
    assert {"atoms", "elements", "charges", "labels", "floors", "from"} <= set(sections)
    assert f"{header['atoms']} in all" in sections["atoms"]
    kinds = ("energy", "forces", "stress", "charges")
    named = {label.split()[0] for label in sections["labels"].split(", ")}
    assert all((header["labels"][k] > 0) == (k in named) for k in kinds)
    assert ("eV/atom" in sections.get("distribution", "")) == (
        header["labels"]["energy"] > 0
    )
    assert max(map(len, lines)) < 2500
