import e3nn_jax as e3nn
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from backbones.mace._contraction import SymmetricContraction
from backbones.mace._convolution import Convolution
from backbones.mace._symmetric_basis import symmetric_basis
from scipy.spatial.transform import Rotation

NATURAL = ["0e", "0e + 1o", "0e + 1o + 2e", "0e + 1o + 2e + 3o"]


def rotated(irreps, x, rotation):
    array = e3nn.IrrepsArray(irreps, jnp.moveaxis(x, 1, -1))
    return jnp.moveaxis(array.transform_by_matrix(rotation).array, -1, 1)


def improper(seed):
    # SciPy's rotations are orthogonal to double precision.
    return jnp.asarray(-Rotation.random(rng=np.random.default_rng(seed)).as_matrix())


@pytest.mark.parametrize(("degree", "out"), [(1, 0), (2, 0), (2, 1), (1, 2)])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_size_of_the_basis_agrees_with_e3nn(degree, out, order):
    irreps = e3nn.Irreps(NATURAL[degree])
    parity = "e" if out % 2 == 0 else "o"
    theirs = e3nn.reduced_symmetric_tensor_product_basis(
        irreps, order, keep_ir=[e3nn.Irrep(f"{out}{parity}")]
    )
    expected = theirs.irreps.count(f"{out}{parity}")
    if expected == 0:
        with pytest.raises(ValueError, match="need at least one array"):
            symmetric_basis(degree, out, order)
    else:
        assert len(symmetric_basis(degree, out, order).table) == expected


@pytest.mark.parametrize(("degree", "out"), [(1, 0), (2, 1), (2, 2)])
def test_contraction_is_a_sum_of_e3nns_symmetric_products(degree, out):
    """One set of weights per element and channel reproduces all messages."""
    layer = SymmetricContraction(
        degree, out, 3, elements=2, channels=3, key=jr.key(out)
    )
    irreps, keep = e3nn.Irreps(NATURAL[degree]), [e3nn.Irrep(NATURAL[out][-2:])]
    x = jr.normal(jr.key(1), (40, irreps.dim, 3))
    terms = []
    for order in (1, 2, 3):
        basis = e3nn.reduced_symmetric_tensor_product_basis(
            irreps, order, keep_ir=keep
        ).filter(keep=keep)
        tensor, axes = basis.array, "abc"[:order]
        factors = [x] * order
        operands = ",".join(f"n{axis}k" for axis in axes)
        product = jnp.einsum(f"{axes}p,{operands}->nkp", tensor, *factors)
        terms.append(product.reshape(40, 3, -1, 2 * out + 1))
    theirs = np.concatenate(terms, axis=2)
    for element in range(2):
        one_hot = jnp.tile(jnp.eye(2)[element], (40, 1))
        ours = np.asarray(layer(x, one_hot))[:, out**2 :]
        for channel in range(3):
            rows = np.moveaxis(theirs[:, channel], 1, 2).reshape(40 * (2 * out + 1), -1)
            target = ours[:, :, channel].reshape(-1)
            weights, *_ = np.linalg.lstsq(rows, target)
            assert len(weights) == layer.weights[out].shape[1]
            np.testing.assert_allclose(rows @ weights, target, atol=1e-11)


def test_sizes_of_the_basis_of_the_published_model():
    counts = [
        [len(symmetric_basis(3, out, n).table) for n in (1, 2, 3)] for out in (0, 1)
    ]
    assert counts == [[1, 4, 8], [1, 3, 12]]
    union = [
        {tuple(m) for out in (0, 1) for m in symmetric_basis(3, out, n).monomials}
        for n in (1, 2, 3)
    ]
    assert [len(u) for u in union] == [4, 51, 355]


def test_polynomials_have_unit_variance():
    draws = np.random.default_rng(0).normal(size=(20000, 9))
    for order in (1, 2, 3):
        basis = symmetric_basis(2, 0, order)
        monomials = np.prod(draws[:, basis.monomials], axis=-1)
        values = monomials @ basis.table[:, 0].T
        rms = np.sqrt((values**2).mean())
        assert 0.7 < rms < 1.8


@pytest.mark.parametrize("correlation", [1, 2, 3])
def test_contraction_is_equivariant(correlation):
    layer = SymmetricContraction(
        3, 1, correlation, elements=2, channels=3, key=jr.key(0)
    )
    x = jr.normal(jr.key(1), (5, 16, 3))
    one_hot = jnp.eye(2)[jnp.array([0, 1, 1, 0, 1])]
    q = improper(2)
    direct = rotated(NATURAL[1], layer(x, one_hot), q)
    np.testing.assert_allclose(
        layer(rotated(NATURAL[3], x, q), one_hot), direct, atol=1e-12
    )


def test_contraction_has_weights_per_element():
    layer = SymmetricContraction(1, 0, 2, elements=2, channels=3, key=jr.key(0))
    x = jr.normal(jr.key(1), (1, 4, 3))
    both = [layer(x, one_hot[None]) for one_hot in jnp.eye(2)]
    assert not np.allclose(*both)


def test_convolution_is_equivariant():
    layer = Convolution(1, 3, 4, (5, 8), key=jr.key(0))
    x = jr.normal(jr.key(1), (3, 4, 4))
    vectors = jr.normal(jr.key(2), (6, 3))
    basis = jr.normal(jr.key(3), (6, 5))
    senders, receivers = jnp.array([1, 2, 0, 0, 1, 1]), jnp.array([0, 0, 1, 2, 2, 2])
    q = improper(2)

    def messages(x, vectors):
        y = e3nn.spherical_harmonics(
            [0, 1, 2, 3], e3nn.IrrepsArray("1o", vectors), True, "component"
        ).array
        return layer(x, y, basis, senders, receivers)

    np.testing.assert_allclose(
        messages(rotated(NATURAL[1], x, q), vectors @ q.T),
        rotated(NATURAL[3], messages(x, vectors), q),
        atol=1e-12,
    )
