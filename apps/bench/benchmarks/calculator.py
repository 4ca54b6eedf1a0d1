"""Calls per second of the calculator with charge equilibration on a mesh.

MACE (8 channels) with CELLI before its second interaction, `solver="iterative"`, and
rocksalt of 2 000 atoms. "walk" moves every atom by 0.02 Å (root mean square of the
vector) before each call, as molecular dynamics would, so that plans are renewed;
"still" puts the atoms that far from the places where they began, so that the first
plan serves. Plans, seconds in them and compilations are those of the timed calls.

    uv run python apps/bench/benchmarks/calculator.py [--cells 5 5 10] [--calls N]
"""

import argparse
import time

import ase
import ase.build
import jax
import numpy as np
from backbones import MACE, Calculator, MACESize, Potential
from lr_celli import ChargeEquilibration

MOVE = 0.02 / 3**0.5


def salt(cells):
    """Rocksalt, a little off its lattice."""
    found = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(cells)
    found.rattle(0.03, seed=0)
    return found


def model():
    """Fresh weights."""
    size = MACESize(channels=8, l_max=1, correlation=2, radial=(16,))
    layer = ChargeEquilibration(8, solver="iterative", key=jax.random.key(1))
    mace = MACE(
        (11, 17),
        size,
        cutoff=4.0,
        average_neighbours=12.0,
        long_range={"block 1": layer},
        key=jax.random.key(0),
    )
    return Potential(mace, {11: 0.0, 17: 0.0})


class Counted:
    """A function that counts its calls and their seconds."""

    def __init__(self, function):
        self.function, self.calls, self.seconds = function, 0, 0.0

    def __call__(self, *values, **options):
        """Calls the function."""
        began = time.perf_counter()
        try:
            return self.function(*values, **options)
        finally:
            self.calls += 1
            self.seconds += time.perf_counter() - began


def timed(potential, atoms, calls, walk):
    """Seconds a call, plans, their seconds, and calls that took twice the median."""
    calculator = Calculator(potential, total_charge=0.0)
    rng, place = np.random.default_rng(0), atoms.positions.copy()
    layer = type(potential.backbone.hooks.layers["block 1"])
    original, counted = layer.plan_for, Counted(layer.plan_for)
    layer.plan_for = lambda self, *a, **k: counted(self, *a, **k)
    atoms.calc = calculator
    try:
        atoms.get_forces()
        first, seconds = (counted.calls, counted.seconds), []
        for _ in range(calls):
            step = rng.normal(0.0, MOVE, place.shape)
            atoms.positions = (atoms.positions if walk else place) + step
            began = time.perf_counter()
            assert np.isfinite(atoms.get_forces()).all()
            seconds.append(time.perf_counter() - began)
    finally:
        layer.plan_for = original
    return np.array(seconds), counted.calls - first[0], counted.seconds - first[1]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--cells", type=int, nargs=3, default=(5, 5, 10))
    options.add_argument("--calls", type=int, default=40)
    given = options.parse_args()
    potential = model()
    for name, walk in (("still", False), ("walk", True)):
        atoms = salt(given.cells)
        seconds, plans, planning = timed(potential, atoms, given.calls, walk)
        print(
            f"{name}: {len(atoms)} atoms, {len(seconds) / seconds.sum():.2f} calls/s, "
            f"median {np.median(seconds):.3f} s, longest {seconds.max():.1f} s, "
            f"{plans} plans in {planning:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
