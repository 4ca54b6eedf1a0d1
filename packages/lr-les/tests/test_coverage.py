"""`plan.covers` on the host, independent of the contents of padding."""

import jax.random as jr
import numpy as np
import pytest
from lr_les import KGrid, LatentEwald, Mesh

CELL = np.array([[9.0, 0.3, 0], [2.5, 8.5, 0], [-2.0, 1.8, 9.0]])


@pytest.fixture
def batch():
    """Three graphs: six atoms, four atoms in another cell, no atoms; padding is NaN."""
    rng = np.random.default_rng(0)
    mask = np.arange(6) < np.array([6, 4, 0])[:, None]
    positions = np.where(mask[..., None], rng.uniform(0, 9, (3, 6, 3)), np.nan)
    return np.stack([CELL, 1.1 * CELL, np.eye(3)]), positions, mask


@pytest.mark.parametrize(("method", "kind"), [("direct", KGrid), ("mesh", Mesh)])
def test_coverage_of_crystals_depends_on_their_cells(batch, method, kind):
    cells, positions, mask = batch
    layer = LatentEwald(4, method=method, tolerance=1e-4, key=jr.key(0))
    plan = layer.plan_for(*batch)
    assert isinstance(plan, kind) and plan.covers(*batch).all()
    assert plan.covers(None, *batch[1:]).tolist() == [False, False, True]
    strained = cells * np.array([1.0, 1.05, np.nan])[:, None, None]
    assert plan.covers(strained, positions + 9.0, mask).tolist() == [True, False, True]
    for value in (np.nan, np.inf):
        broken = positions.copy()
        broken[1, 2, 0] = value
        assert plan.covers(cells, broken, mask).tolist() == [True, False, True]
    singular = cells * np.array([0.0, np.nan, 0.0])[:, None, None]
    assert plan.covers(singular, positions, mask).tolist() == [False, False, True]
    # Open sums need no plan.
    assert layer.plan_for(None, positions, mask) is None
