"""The torch-pme part of `speed.py`, run in a separate environment.

Reads structures from a JSON file. Prints, as JSON, energies and gradients in float64 of
the reciprocal sums and median seconds of both in float32, summed over structures. Forms
that do not fit the given memory are left out.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torchpme

COULOMB_CONSTANT = 14.399645


def vectors(cell, cutoff):
    """All k with 0 < |k| < cutoff."""
    bounds = np.floor(np.linalg.norm(cell, axis=1) * cutoff / (2 * np.pi)).astype(int)
    axes = [np.arange(-m, m + 1) for m in bounds]
    n = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    k = 2 * np.pi * n @ np.linalg.inv(cell).T
    squared = np.sum(k * k, axis=1)
    return k[(squared > 0) & (squared < cutoff**2)]


def calculators(data, dtype):
    """Calculators by name, and whether the vectors are passed to them."""
    single = torchpme.CoulombPotential(smearing=data["sigma"]).to(dtype)
    box = torchpme.EwaldCalculator(single, lr_wavelength=np.pi / data["cutoff"])
    by_name = {"Ewald sphere": (box, True), "Ewald box": (box, False)}
    for name, spacing in data["spacings"].items():
        # torch-pme halves the given spacing.
        given = {"mesh_spacing": 2 * spacing, "interpolation_nodes": 5}
        by_name[name] = (torchpme.P3MCalculator(single, **given), False)
    return by_name


def energy_and_gradient(form, charges, cell, positions, waves):
    calculator, pass_vectors = form
    given = {"kvectors": waves} if pass_vectors else {}
    positions = positions.detach().requires_grad_(True)
    half = calculator._compute_kspace(charges[:, None], cell, positions, **given)
    energy = COULOMB_CONSTANT * (charges[:, None] * half).sum()
    energy.backward()
    return energy.item(), positions.grad


def seconds_of(form, inputs, repeats):
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        for parts in inputs:
            energy_and_gradient(form, *parts)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main():
    data = json.loads(Path(sys.argv[1]).read_text())
    repeats, inputs, work = int(sys.argv[2]), {}, {"Ewald sphere": 0, "Ewald box": 0}
    for dtype in (torch.float64, torch.float32):
        inputs[dtype] = []
        for q, r, cell in data["structures"]:
            k = vectors(np.array(cell), data["cutoff"])
            bounds = np.linalg.norm(cell, axis=1) * data["cutoff"] / (2 * np.pi)
            counts = {"Ewald sphere": len(k), "Ewald box": np.prod(2 * bounds + 1)}
            work |= {n: max(work[n], len(q) * count) for n, count in counts.items()}
            parts = [torch.tensor(x, dtype=dtype) for x in (q, cell, r, k.tolist())]
            inputs[dtype].append(parts)
    results = {}
    for name, form in calculators(data, torch.float64).items():
        results[name] = {}
        if 8 * data["copies"] * work.get(name, 0) < data["memory"]:
            both = [energy_and_gradient(form, *x) for x in inputs[torch.float64]]
            results[name]["energies"] = [energy for energy, _ in both]
            results[name]["gradients"] = [gradient.tolist() for _, gradient in both]
    for name, form in calculators(data, torch.float32).items():
        if 4 * data["copies"] * work.get(name, 0) < data["memory"]:
            results[name]["seconds"] = seconds_of(form, inputs[torch.float32], repeats)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
