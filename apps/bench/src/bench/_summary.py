"""A data set in a few lines."""

from collections import Counter

import numpy as np
from ase.data import chemical_symbols

from ._dataset import DataSet
from ._evaluation import floor_of
from ._references import fit_references, mean_charges


def describe(data: DataSet) -> str:
    """Sizes, elements, charges, labels and floors of a data set."""
    samples = data.samples
    sizes = np.array([len(s.structure) for s in samples])
    elements = Counter(int(z) for s in samples for z in s.structure.numbers)
    charges = Counter(round(s.structure.total_charge) for s in samples)
    floor = floor_of(samples, fit_references(samples), mean_charges(samples))
    labels = ["energy"]
    for name in ("forces", "stress", "charges"):
        have = sum(getattr(s, name) is not None for s in samples)
        if have:
            labels.append(name if have == len(samples) else f"{name} ({have})")
    charged = ", ".join(f"{q:+d}: {n}" for q, n in sorted(charges.items()))
    median = f"{np.median(sizes):.0f}"
    listed = ", ".join(
        f"{chemical_symbols[z]} {n}" for z, n in sorted(elements.items())
    )
    kind = "open" if samples[0].structure.cell is None else "periodic"
    return "\n".join(
        [
            f"{data.name}: {len(samples)} {kind} structures in "
            f"{len(set(data.groups))} groups, digest {data.digest}",
            f"atoms     {sizes.min()} to {sizes.max()}, median {median}",
            f"elements  {listed}",
            f"charges   {charged}",
            f"labels    {', '.join(labels)}",
            f"floors    composition fit {floor.energy_mae:.1f} meV/atom MAE, "
            f"zero force {floor.force_mae:.0f} meV/Å MAE"
            + (
                f", element's mean charge {floor.charge_mae:.0f} me MAE"
                if np.isfinite(floor.charge_mae)
                else ""
            ),
        ]
    )
