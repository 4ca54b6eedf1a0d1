import doctest
import importlib
import subprocess
import sys

import pytest

HEAVY = ("ase", "dscribe", "jax", "matplotlib", "numba", "umap")


def test_import_does_not_load_heavy_packages():
    code = f"import chemsplit, sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


# ASE 3.29 sets the shape of an empty array in place, which NumPy 2.5 deprecates.
@pytest.mark.filterwarnings(
    "ignore:Setting the shape on a NumPy array:DeprecationWarning:ase.atoms"
)
@pytest.mark.parametrize(
    "name",
    [
        *("_chemistry", "_cluster_split", "_describe", "_leakage", "_max_min_split"),
        *("_seed_similarity_split", "_separated_split"),
        *("_nearest_similarity", "_size_split", "_soap"),
    ],
)
def test_docstring_examples_pass(name):
    module = importlib.import_module(f"chemsplit.{name}")
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0
