"""Speed of molecular dynamics.

1. Steps per second at constant energy of the engine of `bench md` and of ASE's
   velocity Verlet with `backbones.Calculator` and the same weights, on a supercell of
   a bundled framework of about 200 atoms: MACE without and with CELLI, EFA, LES.
   Blocks of both alternate; medians. `compiled` is the number of programs that the
   engine compiled, one of them for the first block.
2. Fraction of an engine's step spent in the long-range layer: one minus the ratio of
   the step without it to the step with it.
3. If JAX finds a GPU: ns per day for about 200 and 5 000 atoms, 0.5 fs per step.

The models are not trained: speed does not depend on the weights. `--quick` makes fewer
steps and compares only MACE without and with LES.
"""

import argparse
import time
from statistics import median

import ase
import jax
import numpy as np
from ase import units
from ase.md.verlet import VelocityVerlet
from backbones import Calculator, Structure
from bench.dataset.opening import load_for_training
from bench.dynamics.engine.engine import Engine
from bench.dynamics.engine.ensembles import NVE, AtomicState, Conditions
from bench.dynamics.engine.interaction import make_interaction
from bench.model.building import build_potential
from bench.settings.grid import ModelSettings, Run

TIMESTEP = 0.5
CONDITIONS = Conditions(np.float32(units.kB * 300), np.float32(0.0))
ACTIVE = np.ones(1, bool)


def framework(target_size):
    """Returns a supercell of a bundled framework with velocities of 300 K."""
    best = None
    for sample in load_for_training("frameworks").samples:
        for repeat in ((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2), (4, 4, 4)):
            count = len(sample.structure) * int(np.prod(repeat))
            if best is None or abs(count - target_size) < abs(best[0] - target_size):
                best = count, sample, repeat
    _, sample, repeat = best
    atoms = sample.to_ase().repeat(repeat)
    momenta = np.random.default_rng(0).normal(size=atoms.positions.shape)
    momenta *= np.sqrt(atoms.get_masses()[:, None] * units.kB * 300)
    atoms.set_momenta(momenta - momenta.mean(0))
    return atoms


def potential_of(atoms, long_range):
    """Returns an untrained MACE of the quick grid with a long-range layer."""
    settings = ModelSettings(mace={"hidden_degree": 0})
    run = Run("frameworks", "random", "mace", long_range, 0)
    elements = dict.fromkeys(sorted(set(atoms.numbers.tolist())), 0.0)
    return build_potential(settings, run, elements, avg_num_neighbors=12.0, scale=0.3)


def make_engine(potential, atoms):
    """Returns an engine at step 0."""
    forces = atoms.get_forces()
    structure = Structure.from_ase(atoms, total_charge=0.0)
    engine = Engine(
        make_interaction(potential, structure),
        NVE(),
        atoms.cell.array,
        timestep=TIMESTEP,
    )
    arrays = atoms.positions, atoms.get_momenta(), forces, atoms.get_masses()[:, None]
    engine.start(
        AtomicState(*(np.asarray(a, np.float32)[None] for a in arrays)), CONDITIONS
    )
    return engine


def seconds(function):
    """Returns the duration of a call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def compare(atoms, long_range, steps, repeats):
    """Returns steps per second of both, and the engine's number of compilations."""
    potential = potential_of(atoms, long_range)
    atoms_with_model = atoms.copy()
    atoms_with_model.calc = Calculator(potential, total_charge=0.0)
    engine = make_engine(potential, atoms_with_model)
    ase_integrator = VelocityVerlet(atoms_with_model, TIMESTEP * units.fs)
    functions = {
        "engine": lambda: engine.advance(steps, CONDITIONS, ACTIVE),
        "ASE": lambda: ase_integrator.run(steps),
    }
    measured = {name: [] for name in functions}
    for function in functions.values():
        function()  # compiles
    for _ in range(repeats):
        for name, function in functions.items():
            measured[name].append(steps / seconds(function))
    rates = {name: median(values) for name, values in measured.items()}
    difference = np.abs(
        atoms_with_model.positions - np.asarray(engine.states.position[0])
    ).max()
    assert difference < 0.05, f"the trajectories differ by {difference} Å"
    return rates, engine.compilations


def measure_gpu(steps):
    """Prints ns per day of the engine."""
    for target_size in (200, 5000):
        atoms = framework(target_size)
        for long_range in ("none", "celli", "les"):
            potential = potential_of(atoms, long_range)
            atoms_with_model = atoms.copy()
            atoms_with_model.calc = Calculator(potential, total_charge=0.0)
            engine = make_engine(potential, atoms_with_model)
            engine.advance(steps, CONDITIONS, ACTIVE)
            function = lambda engine=engine: engine.advance(steps, CONDITIONS, ACTIVE)
            rate = steps / median(seconds(function) for _ in range(3))
            speed = rate * TIMESTEP * 1e-6 * 86400
            print(f"{len(atoms):6d} {long_range:8s} {speed:10.2f} ns/day", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    layers = ("none", "les") if quick else ("none", "celli", "efa", "les")
    steps, repeats = (10, 2) if quick else (50, 5)
    atoms: ase.Atoms = framework(200)
    print(f"{atoms.get_chemical_formula()}, {len(atoms)} atoms, {TIMESTEP} fs per step")
    print("layer      engine/s     ASE/s  ratio  compiled  layer's fraction")
    no_layer = None
    for name in layers:
        rates, compiled = compare(atoms, name, steps, repeats)
        no_layer = no_layer or rates["engine"]
        ratio, fraction = rates["engine"] / rates["ASE"], 1 - rates["engine"] / no_layer
        print(
            f"{name:8s} {rates['engine']:10.1f} {rates['ASE']:9.1f} {ratio:6.2f}"
            f" {compiled:9d} {100 * fraction:12.0f} %",
            flush=True,
        )
    if jax.default_backend() == "gpu":
        measure_gpu(20 if quick else 200)


if __name__ == "__main__":
    main()
