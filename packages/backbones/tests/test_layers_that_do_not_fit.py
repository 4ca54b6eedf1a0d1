"""Messages about layers that a backbone cannot use."""

import backbones as bb
import equinox as eqx
import jax
import jaxtyping
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def without_type_checks():
    """As users have it; the tests otherwise check all annotations."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


SIZE = bb.MACESize(channels=4, l_max=1, correlation=1, radial_mlp=(4,))


def mace(long_range):
    return bb.MACE(
        (1, 8),
        SIZE,
        avg_num_neighbors=4.0,
        key=jax.random.key(0),
        long_range=long_range,
    )


class WithoutDegree(eqx.Module):
    def __call__(self, *_, **__): ...

    def plan_for(self, *_, **__): ...


@pytest.mark.parametrize(
    ("long_range", "message"),
    [
        (
            {"final": WithoutDegree()},
            "The layer at hook 'final' is a WithoutDegree without `degree`; expected a "
            "long-range layer, see `LongRange`.",
        ),
        (
            {"block 1": 3.0},
            "The layer at hook 'block 1' is a float without `degree`; expected a "
            "long-range layer, see `LongRange`.",
        ),
        (
            {"final": bb.TotalCharge},
            "The layer at hook 'final' is the class TotalCharge; expected an instance "
            "of it, such as TotalCharge(channels, key=key).",
        ),
        (
            bb.NoLongRange(),
            "`long_range` is a NoLongRange; expected layers by hook, such as "
            "{'embedding': layer}.",
        ),
    ],
)
def test_objects_that_are_no_layers_are_named(long_range, message):
    with pytest.raises(ValueError) as caught:
        mace(long_range)
    assert str(caught.value) == message


def test_a_layer_of_another_number_of_channels_is_named():
    class Linear(eqx.Module):
        weight: jax.Array
        degree = 0

        def __call__(self, features, positions, cell, mask, **_):
            charges = features @ self.weight
            return 0 * features, charges, charges

        def plan_for(self, cells, positions, mask, *, margin=1e-3):
            return None

    layer = Linear(np.ones(9, np.float32))
    hooks = bb.Hooks({"final": layer}, offered={"final": 0})
    water = bb.Structure(
        np.array([8, 1]), np.array([[0.0, 0, 0], [0.96, 0, 0]]), None, 0.0
    )
    (bucket,) = bb.pack([water], cutoff=4.5, graphs=1, plan_for=hooks.plan_for)
    with pytest.raises(TypeError, match="Linear at hook 'final', called with") as error:
        batch = bucket.batch([0])
        hooks("final", np.zeros((batch.mask.size, 1, 4), np.float32), batch)
    assert "called with 4 channels: " in str(error.value)
    assert "\n" not in str(error.value)
