"""Checks of invariance and equivariance, padding, smoothness and locality."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._potential import Potential
from .._structure import Structure
from ._samples import (
    batch_of,
    close,
    evaluate,
    full_stress,
    improper_rotation,
    moved,
    predict,
    sample_structure,
)

# Rounding of float64 in networks of a few layers and sums of hundreds of terms.
TIGHT = 1e-9


def check_symmetry(potential: Potential) -> None:
    """Checks invariance of energies and equivariance of forces and stress.

    The structure is rotated, inverted and translated, and an atom is moved by a lattice
    vector.

    Args:
        potential: in float64.
    """
    q = improper_rotation()
    for periodic in (True, False):
        s = sample_structure(potential, 1, periodic=periodic)
        positions = s.positions @ q.T + np.array([1.0, -2.0, 0.5])
        cell = None
        if s.cell is not None:
            cell = s.cell @ q.T
            positions[1] += cell[0] - 2 * cell[1]
        a, b = predict(potential, s), predict(potential, moved(s, positions, cell))
        close(b.energies, a.energies, TIGHT, "energies of a rotated structure")
        close(b.charges, a.charges, TIGHT, "charges of a rotated structure")
        close(b.forces, a.forces @ q.T, TIGHT, "forces of a rotated structure")
        if periodic:
            rotated = q @ full_stress(a) @ q.T
            close(full_stress(b), rotated, TIGHT, "stress of a rotated cell")


def check_permutation(potential: Potential) -> None:
    """Checks equivariance under permutation of the atoms.

    Args:
        potential: in float64.
    """
    s = sample_structure(potential, 2)
    order = np.random.default_rng(0).permutation(len(s))
    shuffled = dataclasses.replace(
        s, numbers=s.numbers[order], positions=s.positions[order]
    )
    a, b = predict(potential, s), predict(potential, shuffled)
    close(b.energies[0], a.energies[0, order], TIGHT, "energies of permuted atoms")
    close(b.forces[0], a.forces[0, order], TIGHT, "forces of permuted atoms")


def check_batches_and_padding(potential: Potential) -> None:
    """Checks that a batch gives the results of single structures, zero on padding.

    Args:
        potential: in float64.
    """
    for periodic in (True, False):
        parts = [
            sample_structure(potential, seed, atoms=atoms, periodic=periodic)
            for seed, atoms in ((3, 3), (4, 6))
        ]
        both = evaluate(potential, batch_of(potential, *parts))
        for g, part in enumerate(parts):
            alone, n = predict(potential, part), len(part)
            close(both.energies[g, :n], alone.energies[0], TIGHT, "energies in a batch")
            close(both.forces[g, :n], alone.forces[0], TIGHT, "forces in a batch")
            close(both.charges[g, :n], alone.charges[0], TIGHT, "charges in a batch")
            if periodic:
                stress = np.asarray(both.stress)[g : g + 1]
                close(stress, alone.stress, TIGHT, "stress in a batch")
            for leaf in (both.energies, both.forces, both.charges):
                _exactly_zero(leaf[g, n:], "padding atoms")
        one = evaluate(potential, batch_of(potential, parts[0]))
        _exactly_zero(jnp.stack([one.energy[1], *one.charges[1]]), "a padding graph")


def check_supercells(potential: Potential) -> None:
    """Checks energies and stress of supercells, also for cells below the cutoff.

    Args:
        potential: in float64.
    """
    for box in (0.8, 1.7):
        s = sample_structure(potential, 4, atoms=2, box=box)
        cell = np.asarray(s.cell)
        twice = Structure(
            np.tile(s.numbers, 2),
            np.concatenate([s.positions, s.positions + cell[2]]),
            cell * np.array([[1], [1], [2]]),
        )
        a, b = predict(potential, s), predict(potential, twice)
        close(
            b.energies[0], np.tile(a.energies[0], 2), TIGHT, "energies of a supercell"
        )
        close(b.stress, a.stress, TIGHT, "stress of a supercell")


def check_cutoff_is_smooth(potential: Potential) -> None:
    """Checks that energy and forces of two atoms are continuous at the cutoff.

    Args:
        potential: in float64.
    """
    cutoff = potential.backbone.cutoff
    numbers = np.resize(potential.backbone.elements, 2)
    pair = lambda r: predict(
        potential, Structure(numbers, np.array([[0, 0, 0], [0, 0.6 * r, 0.8 * r]]))
    )
    step = 1e-4 * cutoff
    inside, outside = pair(cutoff - step), pair(cutoff + step)
    # The energy of a long-range layer changes by force times step; the envelope and its
    # first derivative vanish as the third and second power of the step.
    force = np.abs(outside.forces).max()
    tolerance = 1e-7 + 3 * step * force
    close(inside.energies, outside.energies, tolerance, "energies across the cutoff")
    close(
        inside.forces, outside.forces, 1e-5 + 3e-4 * force, "forces across the cutoff"
    )


def check_isolated_atoms(potential: Potential) -> None:
    """Checks that an isolated atom has a finite energy and no force.

    Args:
        potential: in float64.
    """
    isolated = Structure(np.array(potential.backbone.elements[:1]), np.zeros((1, 3)))
    out = predict(potential, isolated)
    assert np.isfinite(out.energy[0]), "The energy of an isolated atom is not finite."
    _exactly_zero(out.forces, "the forces on an isolated atom")


def check_single_precision(potential: Potential) -> None:
    """Checks that a float32 model returns float32, and the same to its precision.

    Args:
        potential: in float64.
    """
    to_float32 = lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x
    single = jax.tree.map(to_float32, potential)
    s = sample_structure(potential, 6)
    out, exact = evaluate(single, batch_of(single, s)), predict(potential, s)
    for name in ("energy", "energies", "forces", "stress", "charges"):
        dtype = getattr(out, name).dtype
        assert dtype == jnp.float32, f"{name} of a float32 model is {dtype}."
    scale = max(1.0, np.abs(exact.energies).max(), np.abs(exact.forces).max())
    n = len(s)
    close(out.energies[0, :n], exact.energies[0], 1e-4 * scale, "energies in float32")
    close(out.forces[0, :n], exact.forces[0], 1e-4 * scale, "forces in float32")


def check_distant_fragments(potential: Potential) -> None:
    """Checks that energies of distant molecules are those of each alone.

    Args:
        potential: in float64, without a long-range layer.
    """
    a = sample_structure(potential, 7, atoms=3, periodic=False)
    b = sample_structure(potential, 8, atoms=3, periodic=False)
    distant = b.positions + 20 * potential.backbone.cutoff
    both = Structure(
        np.concatenate([a.numbers, b.numbers]),
        np.concatenate([a.positions, distant]),
        None,
        a.total_charge + b.total_charge,
    )
    parts = [predict(potential, s).energies[0] for s in (a, b)]
    energies = predict(potential, both).energies[0]
    close(energies, np.concatenate(parts), TIGHT, "energies of distant fragments")


def _exactly_zero(values, name: str) -> None:
    assert np.all(np.asarray(values) == 0), f"Not exactly zero: {name}."
