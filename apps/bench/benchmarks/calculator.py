"""Calls per second of the calculator with charge equilibration on a mesh.

MACE (8 channels) with CELLI before its second interaction, `solver="iterative"`, and
rocksalt of 2 000 atoms. "walk" displaces every atom by 0.02 Å (root mean square) before
each call, as in molecular dynamics, so that plans must be renewed; "vibrate" displaces
the atoms by the same distance from their initial positions, so that one plan suffices.
The printed plans and their seconds are those of the timed calls.

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

DISPLACEMENT = 0.02 / 3**0.5


def rocksalt(cells):
    """Returns rocksalt with displaced atoms."""
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(cells)
    atoms.rattle(0.03, seed=0)
    return atoms


def make_potential():
    """Returns an untrained model."""
    size = MACESize(channels=8, l_max=1, correlation=2, radial_mlp=(16,))
    layer = ChargeEquilibration(8, solver="iterative", key=jax.random.key(1))
    mace = MACE(
        (11, 17),
        size,
        cutoff=4.0,
        avg_num_neighbors=12.0,
        long_range={"block 1": layer},
        key=jax.random.key(0),
    )
    return Potential(mace, {11: 0.0, 17: 0.0})


class TimedFunction:
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


def measure(potential, atoms, calls, walk):
    """Returns the seconds of each call, the number of plans and their seconds."""
    calculator = Calculator(potential, total_charge=0.0)
    rng, initial = np.random.default_rng(0), atoms.positions.copy()
    layer = type(potential.backbone.hooks.layers["block 1"])
    original, plan_for = layer.plan_for, TimedFunction(layer.plan_for)
    layer.plan_for = lambda self, *a, **k: plan_for(self, *a, **k)
    atoms.calc = calculator
    try:
        atoms.get_forces()
        first, seconds = (plan_for.calls, plan_for.seconds), []
        for _ in range(calls):
            step = rng.normal(0.0, DISPLACEMENT, initial.shape)
            atoms.positions = (atoms.positions if walk else initial) + step
            began = time.perf_counter()
            assert np.isfinite(atoms.get_forces()).all()
            seconds.append(time.perf_counter() - began)
    finally:
        layer.plan_for = original
    return np.array(seconds), plan_for.calls - first[0], plan_for.seconds - first[1]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--cells", type=int, nargs=3, default=(5, 5, 10))
    options.add_argument("--calls", type=int, default=40)
    arguments = options.parse_args()
    potential = make_potential()
    for name, walk in (("vibrate", False), ("walk", True)):
        atoms = rocksalt(arguments.cells)
        seconds, plans, planning = measure(potential, atoms, arguments.calls, walk)
        print(
            f"{name}: {len(atoms)} atoms, {len(seconds) / seconds.sum():.2f} calls/s, "
            f"median {np.median(seconds):.3f} s, longest {seconds.max():.1f} s, "
            f"{plans} plans in {planning:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
