"""Known numerical errors of JAX versions, which must not occur in the installed one."""

import jax
import jax.numpy as jnp
import numpy as np


def test_jitted_vmap_over_many_rows_is_correct():
    """jax 0.10.2, 0.11.0 and 0.11.1 give wrong results beyond row 16 384."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        matrix, rows = rng.normal(size=(3, 3)), rng.normal(size=(40_000, 3))
        actual = jax.jit(jax.vmap(lambda r: jnp.sum((matrix @ r) ** 2)))(rows)
        np.testing.assert_allclose(actual, ((rows @ matrix.T) ** 2).sum(1), rtol=1e-12)
