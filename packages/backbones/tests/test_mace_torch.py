"""The conversion of mace-torch's models, against its energies, forces and stress."""

from pathlib import Path

import backbones as bb
import jax
import numpy as np
import pytest
from backbones.mace._torch_settings import checked_settings
from backbones.testing import evaluate

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def oracle():
    with np.load(DATA / "mace_torch.npz") as file:
        return dict(file)


@pytest.fixture
def state(oracle):
    return {k[3:]: v for k, v in oracle.items() if k.startswith("sd/")}


# Settings that mace-torch 0.3.16 extracts from the model of the stored results.
SETTINGS = {
    "r_max": 5.0,
    "num_bessel": 8,
    "num_polynomial_cutoff": 5,
    "max_ell": 3,
    "interaction_cls": "RealAgnosticResidualInteractionBlock",
    "interaction_cls_first": "RealAgnosticInteractionBlock",
    "num_interactions": 2,
    "num_elements": 4,
    "hidden_irreps": "16x0e+16x1o",
    "edge_irreps": None,
    "MLP_irreps": "16x0e",
    "gate": "silu",
    "use_reduced_cg": True,
    "use_so3": False,
    "use_edge_irreps_first": False,
    "use_agnostic_product": False,
    "use_last_readout_only": False,
    "use_embedding_readout": False,
    "readout_cls": "NonLinearReadoutBlock",
    "cueq_config": None,
    "atomic_energies": [0.0] * 4,
    "avg_num_neighbors": 12.0,
    "atomic_numbers": [1, 6, 8, 30],
    "correlation": 3,
    "radial_type": "bessel",
    "embedding_specs": None,
    "apply_cutoff": True,
    "radial_MLP": [64, 64, 64],
    "pair_repulsion": False,
    "distance_transform": None,
    "atomic_inter_scale": 1.3,
    "atomic_inter_shift": 0.1,
    "heads": ["Default"],
}


def test_energy_forces_and_stress_agree_with_mace_torch(oracle, state):
    potential = bb.from_mace_torch(state, SETTINGS)
    structure = bb.Structure(oracle["z"], oracle["pos"], oracle["cell"])
    (bucket,) = bb.pack(
        [structure], cutoff=potential.backbone.cutoff, graphs=1, dtype=np.float64
    )
    out = evaluate(potential, bucket.batch([0]))
    energy = float(out.energy[0]) + potential.composition_energy(structure.numbers)
    np.testing.assert_allclose(energy, oracle["energy"][0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(out.forces[0], oracle["forces"], rtol=0, atol=1e-9)
    stress = oracle["stress"][0][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    np.testing.assert_allclose(out.stress[0], stress, rtol=0, atol=1e-11)


OTHER = {
    "gate": None,
    "apply_cutoff": False,
    "interaction_cls": "RealAgnosticDensityResidualInteractionBlock",
    "interaction_cls_first": "<class 'mace.modules.blocks.RealAgnosticResidual'>",
    "num_interactions": 1,
    "correlation": [2, 3],
    "heads": ["a", "b"],
    "radial_type": "chebyshev",
    "distance_transform": "Agnesi",
    "pair_repulsion": 1,
    "use_last_readout_only": True,
    "avg_num_neighbors": float("nan"),
    "r_max": 6.0,
    "hidden_irreps": "16x0e+16x1e",
    "atomic_numbers": [1, 6, 8, 29],
    "embedding_specs": {"total_charge": {}},
}


@pytest.mark.parametrize("name", OTHER)
def test_unsupported_settings_raise(name, state):
    with pytest.raises(ValueError, match=f"{name}=") as caught:
        bb.from_mace_torch(state, SETTINGS | {name: OTHER[name]})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gate", "apply_cutoff", "avg_num_neighbors"])
def test_missing_settings_raise(name, state):
    rest = {key: value for key, value in SETTINGS.items() if key != name}
    with pytest.raises(ValueError, match=f"lacks '{name}'"):
        bb.from_mace_torch(state, rest)


def test_settings_may_be_strings_of_mace_torch(state):
    texts = {
        key: value if key.startswith("atomic") else str(value)
        for key, value in SETTINGS.items()
    }
    texts["gate"] = "<function silu at 0x7ffafc7ce660>"
    for name in ("interaction_cls", "interaction_cls_first", "readout_cls"):
        texts[name] = f"<class 'mace.modules.blocks.{SETTINGS[name]}'>"
    assert checked_settings(texts) == checked_settings(SETTINGS)
    for gate in (
        "<built-in method tanh of type object at 0x7f>",
        "<function abs at 0>",
    ):
        with pytest.raises(ValueError, match="gate='(tanh|abs)'; only 'silu'"):
            bb.from_mace_torch(state, texts | {"gate": gate})


def test_unknown_settings_and_other_types_raise(state, tmp_path):
    with pytest.raises(ValueError, match="'keep_layers', which is unknown"):
        bb.from_mace_torch(state, SETTINGS | {"keep_layers": False})
    with pytest.raises(
        ValueError, match="no configuration of the model: no ScaleShiftMACE"
    ):
        bb.from_mace_torch(state, {"error": "no ScaleShiftMACE"})
    with pytest.raises(ValueError, match=r"numpy.load\(path\)"):
        bb.from_mace_torch(tmp_path / "state.npz", SETTINGS)
    with pytest.raises(ValueError, match="'r_max' as list; expected a NumPy"):
        bb.from_mace_torch(state | {"r_max": [5.0]}, SETTINGS)


MESSAGES = {
    "pair_repulsion_fn.a": (np.zeros(1), "which a plain ScaleShiftMACE does not have"),
    "readouts.1.linear_1.bias": (
        np.zeros(16),
        "which a plain ScaleShiftMACE does not have",
    ),
    "products.1.symmetric_contractions.contractions.0.U_matrix_4": (
        np.zeros(1),
        r"products of different `correlation`, \[3, 4\]",
    ),
    "interactions.0.skip_tp.weight": (
        np.zeros(1024),
        "is not a RealAgnosticInteractionBlock",
    ),
    "interactions.1.skip_tp.weight": (np.zeros(99), "its entries do not fit"),
    "radial_embedding.bessel_fn.prefactor": (
        np.array(1.0),
        "only 0.63.* can be converted",
    ),
    "scale_shift.scale": (np.full(2, 1.3), "2 values in 'scale_shift.scale'"),
    "scale_shift.shift": (np.array(np.nan), "'scale_shift.shift' that are not finite"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_arrays_of_other_models_raise(name, state):
    array, message = MESSAGES[name]
    with pytest.raises(ValueError, match=message):
        bb.from_mace_torch(state | {name: array}, SETTINGS)


def test_missing_arrays_and_another_order_of_components_raise(state):
    name = "products.1.symmetric_contractions.contractions.0.U_matrix_2"
    with pytest.raises(ValueError, match="not equivariant in the e3nn convention"):
        bb.from_mace_torch(state | {name: np.roll(state[name], 1, axis=0)}, SETTINGS)
    for name in ("atomic_numbers", "readouts.0.linear.weight"):
        rest = {key: value for key, value in state.items() if key != name}
        with pytest.raises(ValueError, match=f"lacks '{name}'"):
            bb.from_mace_torch(rest, SETTINGS)


def test_weights_in_single_precision_are_converted(state):
    single = {
        key: value.astype(np.float32) if value.dtype == np.float64 else value
        for key, value in state.items()
    }
    double, rounded = (bb.from_mace_torch(s, SETTINGS) for s in (state, single))
    for a, b in zip(jax.tree.leaves(double), jax.tree.leaves(rounded), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
