"""Construction of models with long-range layers, evaluated for shapes only."""

import backbones as bb
import equinox as eqx
import jax
import jax.random as jr
import lr_celli
import lr_efa
import lr_les
import pytest


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def efa(width, key):
    return lr_efa.EuclideanFastAttention(width, omega_max=2.0, key=key)


def celli(width, key):
    """With a linear readout if an adapter's network precedes the layer."""
    hidden = () if width < 64 else (64, 64)
    return lr_celli.ChargeEquilibration(width, hidden=hidden, key=key)


def polarizable(width, key):
    dense = lr_celli.ChargeEquilibration(width, hidden=(), solver="dense", key=key)
    return lr_celli.PolarizableChargeEquilibration(dense)


def les(width, key):
    return lr_les.LatentEwald(width, key=key)


def total_charge(width, key):
    return bb.TotalCharge(width, key=key)


def les_and_celli(width, key):
    return bb.Sum((les(width, key), celli(width, key)))


LAYERS = {
    "none": {},
    "total charge": {"embedding": total_charge},
    "CELLI": {"block 1": celli},
    "LES": {"final": les},
}
COUNTS = {
    bb.MACE: (bb.MACESize(), (250712, 255640, 271382, 250840, 254808)),
    bb.Allegro: (bb.AllegroSize(), (73738, 81739, 80309, 77399, 80907)),
    bb.DimeNet: (bb.DimeNetSize(), (1476102, 1494150, 1498276, 1504806, 1484294)),
}


@pytest.mark.parametrize("backbone", COUNTS)
def test_layers_add_few_parameters(backbone):
    """The counts at the published sizes with four elements: at most 11 % more."""
    size, expected = COUNTS[backbone]
    hook = "block 1" if backbone is bb.MACE else "embedding"
    variants = LAYERS | {"EFA": {hook: efa}}

    def count(key, layers):
        model = backbone(
            (1, 6, 8, 30),
            size,
            avg_num_neighbors=34.0,
            long_range={h: make(size.widths[h], key) for h, make in layers.items()},
            key=key,
        )
        return bb.parameter_count(model)

    # Only shapes are computed; no parameters are drawn.
    counts = [
        int(eqx.filter_eval_shape(count, jr.key(0), layers))
        for layers in variants.values()
    ]
    assert tuple(counts) == expected
    assert max(counts) < 1.11 * counts[0]


@pytest.mark.parametrize(
    ("layer", "uses"),
    [
        (total_charge, True),
        (celli, True),
        (polarizable, True),
        (les, False),
        (efa, False),
    ],
)
def test_uses_total_charge(layer, uses):
    assert abstract_backbone((1, 8), layer).hooks.uses_total_charge == uses


@pytest.mark.parametrize("layer", [celli, polarizable, les_and_celli])
def test_elements_that_a_layer_does_not_support_raise(layer):
    assert abstract_backbone((1, 96), layer).elements == (1, 96)
    with pytest.raises(ValueError, match="Element 97 has no published covalent radius"):
        abstract_backbone((1, 97), layer)


def abstract_backbone(elements, layer):
    """A backbone whose arrays are replaced by their shapes."""
    return eqx.filter_eval_shape(
        lambda: bb.MACE(
            elements,
            bb.MACESize(channels=4),
            avg_num_neighbors=1.0,
            long_range={"embedding": layer(4, jr.key(1))},
            key=jr.key(0),
        )
    )
