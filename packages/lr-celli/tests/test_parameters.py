"""Initial electronegativities, covalent radii and invalid settings of the layer."""

import equinox as eqx
import jax.random as jr
import numpy as np
import pytest
from ase.data import covalent_radii
from lr_celli import COVALENT_RADII, ChargeEquilibration


def test_initial_electronegativities_have_the_requested_scale():
    layer = ChargeEquilibration(64, scale=3.0, key=jr.key(2))
    features = jr.normal(jr.key(3), (2000, 64))
    chi = eqx.filter_jit(layer.electronegativity)(features)
    # For one draw of the weights the standard deviation varies by the root of 2/64.
    assert abs(np.std(chi) / 3.0 - 1) < 0.5


def test_radii_are_those_of_ase():
    np.testing.assert_array_equal(COVALENT_RADII[1:97], covalent_radii[1:97])
    assert np.isnan(COVALENT_RADII[97:]).all() and len(COVALENT_RADII) == 119


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "lu"}, "`solver` is .*, got 'lu'"),
        ({"energy": "none"}, '`energy` is "coulomb" or "total", got \'none\''),
        ({"width_bounds": (2.0, 1.0)}, "`width_bounds` are"),
    ],
)
def test_invalid_settings_raise(options, message):
    with pytest.raises(ValueError, match=message):
        ChargeEquilibration(5, key=jr.key(1), **options)
