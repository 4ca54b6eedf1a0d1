"""The torch-pme side of `speed.py`, run in an environment of its own.

Reads structures from a JSON file; prints, as JSON, energies in float64 and median
seconds of energy and forces in float32 of its reciprocal parts, summed over structures.
Ewald sums whose waves would not fit the given memory are left out.
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


def main():
    data = json.loads(Path(sys.argv[1]).read_text())
    repeats, end, sigma = int(sys.argv[2]), data["end"], data["sigma"]
    potential = torchpme.CoulombPotential(smearing=sigma)
    single = torchpme.CoulombPotential(smearing=sigma).to(torch.float32)
    calculators = {
        "Ewald box": torchpme.EwaldCalculator(single, lr_wavelength=np.pi / end),
        "Ewald sphere": torchpme.EwaldCalculator(single, lr_wavelength=1.0),
        "P3M": torchpme.P3MCalculator(
            single, mesh_spacing=2 * 0.6, interpolation_nodes=5
        ),
    }
    exact = torchpme.EwaldCalculator(potential.to(torch.float64), lr_wavelength=1.0)
    energies, inputs, largest = [], [], 0
    for q, r, cell in data["structures"]:
        q, r, cell = np.array(q), np.array(r), np.array(cell)
        k = vectors(cell, end)
        most = np.floor(np.linalg.norm(cell, axis=1) * end / (2 * np.pi))
        largest = max(largest, len(q) * np.prod(2 * most + 1))
        both = []
        for dtype in (torch.float64, torch.float32):
            both.append([torch.tensor(x, dtype=dtype) for x in (q, cell, r, k)])
        inputs.append(both[1])
        if 8 * data["copies"] * len(q) * len(k) < data["memory"]:
            charges, lattice, places, waves = both[0]
            half = exact._compute_kspace(
                charges[:, None], lattice, places, kvectors=waves
            )
            energies.append(COULOMB_CONSTANT * float((charges[:, None] * half).sum()))
    if 4 * data["copies"] * largest > data["memory"]:
        del calculators["Ewald box"], calculators["Ewald sphere"]
    seconds = {}
    for name, calculator in calculators.items():
        times = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            for charges, lattice, places, waves in inputs:
                places = places.detach().requires_grad_(True)
                given = {"kvectors": waves} if name == "Ewald sphere" else {}
                half = calculator._compute_kspace(
                    charges[:, None], lattice, places, **given
                )
                (charges[:, None] * half).sum().backward()
            times.append(time.perf_counter() - start)
        seconds[name] = statistics.median(times[1:])
    print(json.dumps({"energies": energies, "seconds": seconds}))


if __name__ == "__main__":
    main()
