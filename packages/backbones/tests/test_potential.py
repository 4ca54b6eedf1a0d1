import backbones as bb
import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

close = lambda a, b, tol=1e-10: np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


def test_energy_is_smooth_and_pairs_vanish_at_the_cutoff(mace, predict):
    potential = mace()
    pair = lambda r: bb.Structure(np.array([6, 8]), np.array([[0, 0, 0], [0, 0, r]]))
    separate = predict(potential, pair(20.0)).energy[0]
    inside = predict(potential, pair(4.0 - 1e-4))
    close(inside.energy[0], separate, 1e-8)
    assert np.abs(inside.forces).max() < 1e-5
    assert abs(predict(potential, pair(2.0)).energy[0] - separate) > 1e-4


@pytest.mark.parametrize("num_interactions", [1, 3])
def test_any_number_of_interactions(num_interactions, structure, mace, predict):
    size = bb.MACESize(
        channels=3,
        l_max=2,
        correlation=3,
        num_interactions=num_interactions,
        radial_mlp=(4,),
    )
    out = predict(mace(size), structure(1))
    close(out.forces[0].sum(0), np.zeros(3))
    assert out.energy[0] != 0


def test_parameters_are_counted(mace, with_layer):
    without, with_one = mace(), with_layer()
    assert bb.parameter_count(with_one) - bb.parameter_count(without) == 8


def test_atomic_energies_and_unsupported_elements(mace):
    potential = mace()
    assert potential.composition_energy(np.array([1, 1, 8])) == -5.0
    with pytest.raises(
        ValueError, match="does not support Zn; it was built for H, C, O"
    ):
        potential.composition_energy(np.array([30]))
    with pytest.raises(ValueError, match="no energy for O"):
        bb.Potential(potential.backbone, {1: 0.0, 6: 0.0})


def test_sum_adds_and_no_long_range_is_zero(GaussianSum):
    layer = GaussianSum(jnp.array([0.1, 0.2, -0.3, 0.4]))
    x, r = jr.normal(jr.key(0), (5, 4)), jr.normal(jr.key(1), (5, 3))
    mask = jnp.array([True] * 4 + [False])
    properties = {"species": jnp.ones(5, int), "total_charge": jnp.array(0.0)}
    one = layer(x, r, None, mask, **properties)
    both = bb.Sum((layer, bb.NoLongRange(), layer))
    for a, b in zip(one, both(x, r, None, mask, **properties), strict=True):
        close(2 * a, b)
    assert both.plan_for(None, r[None], mask[None]) == (None, None, None)
    assert isinstance(both, bb.LongRange)


class LightElements(bb.NoLongRange):
    """A layer that does not support all elements."""

    def check_elements(self, numbers):
        if max(numbers) > 96:
            raise ValueError(f"Element {max(numbers)} has no width.")


def test_layers_check_the_elements_when_a_model_is_built(kind):
    with pytest.raises(ValueError, match="Element 97 has no width"):
        # Shapes only, to save the initialization of weights.
        eqx.filter_eval_shape(
            lambda: kind(
                (1, 97),
                avg_num_neighbors=1.0,
                long_range={"final": LightElements()},
                key=jr.key(0),
            )
        )


def test_invalid_models_raise(mace, GaussianSum):
    weight = jnp.ones(4)
    with pytest.raises(ValueError, match="no hook 'middle'"):
        mace(long_range={"middle": GaussianSum(weight)})
    with pytest.raises(ValueError, match="has degree 2"):
        mace(long_range={"block 1": GaussianSum(weight, 2)})
    two = {"embedding": GaussianSum(weight), "block 1": GaussianSum(weight)}
    with pytest.raises(ValueError, match="the hook whose charges"):
        mace(long_range=two)
    with pytest.raises(ValueError, match="layers of one degree"):
        bb.Sum((GaussianSum(weight), GaussianSum(weight, 1)))
    with pytest.raises(ValueError, match="`correlation` must be 1, 2 or 3"):
        mace(bb.MACESize(correlation=4))
    with pytest.raises(ValueError, match="must be positive, got 0"):
        bb.MACE((1,), cutoff=0.0, avg_num_neighbors=1.0, key=jr.key(0))
    with pytest.raises(ValueError, match="`hidden_degree` must be between"):
        bb.MACESize(hidden_degree=4)


def test_sizes_with_too_large_tables_raise():
    with pytest.raises(ValueError, match="`l_max` = 7 with `correlation` = 3"):
        bb.MACESize(l_max=7)
    with pytest.raises(ValueError, match="go up to degree 11"):
        bb.AllegroSize(features=("1o", "12e"))
    for wrong in (
        {"radial_mlp": (8, 0)},
        {"envelope_exponent": 0},
        {"readout_width": 0},
    ):
        with pytest.raises(ValueError, match="must be at least 1"):
            bb.MACESize(**wrong)
    with pytest.raises(ValueError, match="`two_body` widths must be at least 1"):
        bb.AllegroSize(two_body=(0,))


def test_atomic_energies_are_finite(model):
    backbone = eqx.filter_eval_shape(lambda: model().backbone)
    with pytest.raises(ValueError, match="no finite energy for C: nan"):
        bb.Potential(backbone, {1: 0.0, 6: float("nan"), 8: 0.0})
