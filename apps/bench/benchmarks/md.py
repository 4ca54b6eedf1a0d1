"""Times molecular dynamics, both sides of each claim in one run.

1. Steps a second of the engine of `bench md` at constant energy against ASE's velocity
   Verlet driving the same weights through `backbones.Calculator`, on a supercell of a
   bundled framework near 200 atoms: MACE without and with CELLI, EFA, LES. Blocks of
   both sides alternate; medians. `compiled` counts the programs after the first block.
2. The part of an engine's step that the long-range layer costs: one minus the ratio of
   the step without it to the step with it.
3. Where JAX finds a GPU: ns a day near 200 and 5 000 atoms, 0.5 fs a step.

Weights are those of a fresh model: what they are does not change the cost.
`--quick` takes fewer steps and only MACE without and with LES.
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
from bench.dynamics.engine.ensembles import NVE, Moving, Targets
from bench.dynamics.engine.interaction import interaction
from bench.model.building import build_potential
from bench.settings.grid import ModelSettings, Run

TIMESTEP = 0.5
AIM = Targets(np.float32(units.kB * 300), np.float32(0.0))
GOING = np.ones(1, bool)


def framework(atoms_wanted):
    """A supercell of a bundled framework near some number of atoms, at 300 K."""
    best = None
    for sample in load_for_training("frameworks").samples:
        for repeat in ((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2), (4, 4, 4)):
            count = len(sample.structure) * int(np.prod(repeat))
            if best is None or abs(count - atoms_wanted) < abs(best[0] - atoms_wanted):
                best = count, sample, repeat
    _, sample, repeat = best
    atoms = sample.to_ase().repeat(repeat)
    momenta = np.random.default_rng(0).normal(size=atoms.positions.shape)
    momenta *= np.sqrt(atoms.get_masses()[:, None] * units.kB * 300)
    atoms.set_momenta(momenta - momenta.mean(0))
    return atoms


def potential_of(atoms, long_range):
    """A fresh MACE of the quick grid's shape with a layer."""
    settings = ModelSettings(mace={"hidden_degree": 0})
    run = Run("frameworks", "random", "mace", long_range, 0)
    elements = dict.fromkeys(sorted(set(atoms.numbers.tolist())), 0.0)
    return build_potential(settings, run, elements, avg_num_neighbors=12.0, scale=0.3)


def engine_of(potential, atoms):
    """The engine at its first step."""
    forces = atoms.get_forces()
    structure = Structure.from_ase(atoms, total_charge=0.0)
    engine = Engine(
        interaction(potential, structure), NVE(), atoms.cell.array, timestep=TIMESTEP
    )
    arrays = atoms.positions, atoms.get_momenta(), forces, atoms.get_masses()[:, None]
    engine.start(Moving(*(np.asarray(a, np.float32)[None] for a in arrays)), AIM)
    return engine


def seconds(work):
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compared(atoms, long_range, steps, repeats):
    """Steps a second of both sides, and the engine's number of programs."""
    potential = potential_of(atoms, long_range)
    mine = atoms.copy()
    mine.calc = Calculator(potential, total_charge=0.0)
    engine = engine_of(potential, mine)
    other = VelocityVerlet(mine, TIMESTEP * units.fs)
    sides = {
        "engine": lambda: engine.advance(steps, AIM, GOING),
        "ASE": lambda: other.run(steps),
    }
    found = {name: [] for name in sides}
    for work in sides.values():
        work()  # compiles
    for _ in range(repeats):
        for name, work in sides.items():
            found[name].append(steps / seconds(work))
    rates = {name: median(values) for name, values in found.items()}
    drift = np.abs(mine.positions - np.asarray(engine.states.position[0])).max()
    assert drift < 0.05, f"the two sides went apart by {drift} Å"
    return rates, engine.compilations


def on_gpu(steps):
    """Nanoseconds a day of the engine alone."""
    for wanted in (200, 5000):
        atoms = framework(wanted)
        for long_range in ("none", "celli", "les"):
            potential = potential_of(atoms, long_range)
            mine = atoms.copy()
            mine.calc = Calculator(potential, total_charge=0.0)
            engine = engine_of(potential, mine)
            engine.advance(steps, AIM, GOING)
            work = lambda engine=engine: engine.advance(steps, AIM, GOING)
            rate = steps / median(seconds(work) for _ in range(3))
            speed = rate * TIMESTEP * 1e-6 * 86400
            print(f"{len(atoms):6d} {long_range:8s} {speed:10.2f} ns/day", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    layers = ("none", "les") if quick else ("none", "celli", "efa", "les")
    steps, repeats = (10, 2) if quick else (50, 5)
    atoms: ase.Atoms = framework(200)
    print(f"{atoms.get_chemical_formula()}, {len(atoms)} atoms, {TIMESTEP} fs a step")
    print("layer      engine/s     ASE/s  ratio  compiled  layer's part")
    bare = None
    for name in layers:
        rates, compiled = compared(atoms, name, steps, repeats)
        bare = bare or rates["engine"]
        ratio, part = rates["engine"] / rates["ASE"], 1 - rates["engine"] / bare
        print(
            f"{name:8s} {rates['engine']:10.1f} {rates['ASE']:9.1f} {ratio:6.2f}"
            f" {compiled:9d} {100 * part:12.0f} %",
            flush=True,
        )
    if jax.default_backend() == "gpu":
        on_gpu(20 if quick else 200)


if __name__ == "__main__":
    main()
