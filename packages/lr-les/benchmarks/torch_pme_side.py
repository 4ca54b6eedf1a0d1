"""The torch-pme side of `speed.py`, run in an environment of its own.

Reads structures from a JSON file; prints, as JSON, energies and gradients in float64
and median seconds of both in float32 of its reciprocal parts, summed over structures.
What would not fit the given memory is left out.
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


def vectors(cell, end):
    """All k with 0 < |k| < end."""
    most = np.floor(np.linalg.norm(cell, axis=1) * end / (2 * np.pi)).astype(int)
    axes = [np.arange(-m, m + 1) for m in most]
    n = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    k = 2 * np.pi * n @ np.linalg.inv(cell).T
    squared = np.sum(k * k, axis=1)
    return k[(squared > 0) & (squared < end**2)]


def calculators(data, dtype):
    """Every form by name, and whether it is given the vectors."""
    single = torchpme.CoulombPotential(smearing=data["sigma"]).to(dtype)
    box = torchpme.EwaldCalculator(single, lr_wavelength=np.pi / data["end"])
    found = {"Ewald sphere": (box, True), "Ewald box": (box, False)}
    for name, spacing in data["spacings"].items():
        # It halves the spacing that it is given.
        given = {"mesh_spacing": 2 * spacing, "interpolation_nodes": 5}
        found[name] = (torchpme.P3MCalculator(single, **given), False)
    return found


def energy_and_gradient(form, charges, cell, places, waves):
    calculator, given_vectors = form
    given = {"kvectors": waves} if given_vectors else {}
    places = places.detach().requires_grad_(True)
    half = calculator._compute_kspace(charges[:, None], cell, places, **given)
    energy = COULOMB_CONSTANT * (charges[:, None] * half).sum()
    energy.backward()
    return energy.item(), places.grad


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
            k = vectors(np.array(cell), data["end"])
            most = np.linalg.norm(cell, axis=1) * data["end"] / (2 * np.pi)
            counts = {"Ewald sphere": len(k), "Ewald box": np.prod(2 * most + 1)}
            work |= {n: max(work[n], len(q) * count) for n, count in counts.items()}
            parts = [torch.tensor(x, dtype=dtype) for x in (q, cell, r, k.tolist())]
            inputs[dtype].append(parts)
    found = {}
    for name, form in calculators(data, torch.float64).items():
        found[name] = {}
        if 8 * data["copies"] * work.get(name, 0) < data["memory"]:
            both = [energy_and_gradient(form, *x) for x in inputs[torch.float64]]
            found[name]["energies"] = [energy for energy, _ in both]
            found[name]["gradients"] = [gradient.tolist() for _, gradient in both]
    for name, form in calculators(data, torch.float32).items():
        if 4 * data["copies"] * work.get(name, 0) < data["memory"]:
            found[name]["seconds"] = seconds_of(form, inputs[torch.float32], repeats)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
