"""Energies, forces and stress of mace-torch with its own weights."""

from pathlib import Path

import backbones as bb
import numpy as np
import pytest
from backbones.testing import evaluate

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def oracle():
    with np.load(DATA / "mace_torch.npz") as file:
        return dict(file)


@pytest.fixture
def state(oracle):
    return {k[3:]: v for k, v in oracle.items() if k.startswith("sd/")}


def test_energy_forces_and_stress_are_mace_torchs(oracle, state):
    potential = bb.from_mace_torch(state, average_neighbours=12.0)
    structure = bb.Structure(oracle["z"], oracle["pos"], oracle["cell"])
    (bucket,) = bb.pack(
        [structure], cutoff=potential.backbone.cutoff, graphs=1, dtype=np.float64
    )
    out = evaluate(potential, bucket.batch([0]))
    energy = float(out.energy[0]) + potential.reference_energy(structure.numbers)
    np.testing.assert_allclose(energy, oracle["energy"][0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(out.forces[0], oracle["forces"], rtol=0, atol=1e-9)
    stress = oracle["stress"][0][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    np.testing.assert_allclose(out.stress[0], stress, rtol=0, atol=1e-11)


def test_other_models_are_refused(state):
    with pytest.raises(ValueError, match="'pair_repulsion_fn.a', which a plain"):
        bb.from_mace_torch(
            state | {"pair_repulsion_fn.a": np.zeros(1)}, average_neighbours=1.0
        )
    small = state["interactions.0.skip_tp.weight"][:1024]
    with pytest.raises(ValueError, match="is not a RealAgnosticInteractionBlock"):
        bb.from_mace_torch(
            state | {"interactions.0.skip_tp.weight": small}, average_neighbours=1.0
        )
    name = "products.1.symmetric_contractions.contractions.0.U_matrix_2"
    with pytest.raises(ValueError, match="not equivariant in our convention"):
        bb.from_mace_torch(
            state | {name: np.roll(state[name], 1, axis=0)}, average_neighbours=1.0
        )
    with pytest.raises(ValueError, match="lacks 'atomic_numbers'"):
        bb.from_mace_torch({}, average_neighbours=1.0)
