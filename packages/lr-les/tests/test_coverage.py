"""What a plan serves: said on the host, whatever padding holds."""

import jax.random as jr
import numpy as np
import pytest
from lr_les import KGrid, LatentEwald, Mesh

CELL = np.array([[9.0, 0.3, 0], [2.5, 8.5, 0], [-2.0, 1.8, 9.0]])


@pytest.fixture
def batch():
    """Three graphs: six atoms, four atoms of another cell, none; padding is junk."""
    rng = np.random.default_rng(0)
    mask = np.arange(6) < np.array([6, 4, 0])[:, None]
    positions = np.where(mask[..., None], rng.uniform(0, 9, (3, 6, 3)), np.nan)
    return np.stack([CELL, 1.1 * CELL, np.eye(3)]), positions, mask


@pytest.mark.parametrize(("method", "kind"), [("direct", KGrid), ("mesh", Mesh)])
def test_crystals_answer_by_their_cells(batch, method, kind):
    cells, positions, mask = batch
    layer = LatentEwald(4, method=method, tolerance=1e-4, key=jr.key(0))
    plan = layer.plan_for(*batch)
    assert isinstance(plan, kind) and plan.covers(*batch).all()
    assert plan.covers(None, *batch[1:]).tolist() == [False, False, True]
    strained = cells * np.array([1.0, 1.05, np.nan])[:, None, None]
    assert plan.covers(strained, positions + 9.0, mask).tolist() == [True, False, True]
    flat = cells * np.array([0.0, np.nan, 0.0])[:, None, None]
    assert plan.covers(flat, positions, mask).tolist() == [False, False, True]
    # Open sums know no bounds.
    assert layer.plan_for(None, positions, mask) is None
