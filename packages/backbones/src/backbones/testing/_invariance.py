"""What must not change, or must turn along, when a structure is described anew."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._potential import Potential
from .._structure import Structure
from ._samples import (
    any_rotation,
    batch_of,
    close,
    evaluate,
    full_stress,
    moved,
    predict,
    sample_structure,
)

# Rounding of float64 through networks of some layers and sums of some hundred terms.
TIGHT = 1e-9


def check_symmetry(potential: Potential) -> None:
    """Rotation, inversion, translation and wrapping: energies stay, forces turn."""
    q = any_rotation()
    for periodic in (True, False):
        s = sample_structure(potential, 1, periodic=periodic)
        positions = s.positions @ q.T + np.array([1.0, -2.0, 0.5])
        cell = None
        if s.cell is not None:
            cell = s.cell @ q.T
            positions[1] += cell[0] - 2 * cell[1]
        a, b = predict(potential, s), predict(potential, moved(s, positions, cell))
        close(b.energies, a.energies, TIGHT, "energies of a turned structure")
        close(b.charges, a.charges, TIGHT, "charges of a turned structure")
        close(b.forces, a.forces @ q.T, TIGHT, "forces of a turned structure")
        if periodic:
            turned = q @ full_stress(a) @ q.T
            close(full_stress(b), turned, TIGHT, "stress of a turned cell")


def check_order_of_atoms(potential: Potential) -> None:
    """Results follow their atoms through a permutation."""
    s = sample_structure(potential, 2)
    order = np.random.default_rng(0).permutation(len(s))
    shuffled = dataclasses.replace(
        s, numbers=s.numbers[order], positions=s.positions[order]
    )
    a, b = predict(potential, s), predict(potential, shuffled)
    close(b.energies[0], a.energies[0, order], TIGHT, "energies of permuted atoms")
    close(b.forces[0], a.forces[0, order], TIGHT, "forces of permuted atoms")


def check_batches_and_padding(potential: Potential) -> None:
    """A batch is its structures one by one, and exactly zero on padding."""
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


def check_repeated_cells(potential: Potential) -> None:
    """A supercell repeats energies and stress, in cells smaller than the cutoff too."""
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
    """Energy and forces of two atoms do not jump where they lose sight."""
    reach = potential.backbone.cutoff
    numbers = np.resize(potential.backbone.elements, 2)
    pair = lambda r: predict(
        potential, Structure(numbers, np.array([[0, 0, 0], [0, 0.6 * r, 0.8 * r]]))
    )
    step = 1e-4 * reach
    inside, outside = pair(reach - step), pair(reach + step)
    # What a long-range layer adds changes by slope times step; the envelope and its
    # first derivative vanish as the third and second power of the step.
    slope = np.abs(outside.forces).max()
    room = 1e-7 + 3 * step * slope
    close(inside.energies, outside.energies, room, "energies across the cutoff")
    close(
        inside.forces, outside.forces, 1e-5 + 3e-4 * slope, "forces across the cutoff"
    )


def check_lone_atoms(potential: Potential) -> None:
    """An atom without neighbours has a finite energy and no force."""
    lone = Structure(np.array(potential.backbone.elements[:1]), np.zeros((1, 3)))
    out = predict(potential, lone)
    assert np.isfinite(out.energy[0]), "The energy of a lone atom is not finite."
    _exactly_zero(out.forces, "the forces on a lone atom")


def check_single_precision(potential: Potential) -> None:
    """float32 in, float32 out, and the same numbers to its precision."""
    halve = lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x
    single = jax.tree.map(halve, potential)
    s = sample_structure(potential, 6)
    out, exact = evaluate(single, batch_of(single, s)), predict(potential, s)
    for name in ("energy", "energies", "forces", "stress", "charges"):
        dtype = getattr(out, name).dtype
        assert dtype == jnp.float32, f"{name} of a float32 model is {dtype}."
    scale = max(1.0, np.abs(exact.energies).max(), np.abs(exact.forces).max())
    n = len(s)
    close(out.energies[0, :n], exact.energies[0], 1e-4 * scale, "energies in float32")
    close(out.forces[0, :n], exact.forces[0], 1e-4 * scale, "forces in float32")


def check_far_fragments_add(potential: Potential) -> None:
    """Without a long-range layer, molecules out of sight do not know of each other."""
    a = sample_structure(potential, 7, atoms=3, periodic=False)
    b = sample_structure(potential, 8, atoms=3, periodic=False)
    far = b.positions + 20 * potential.backbone.cutoff
    both = Structure(
        np.concatenate([a.numbers, b.numbers]),
        np.concatenate([a.positions, far]),
        None,
        a.total_charge + b.total_charge,
    )
    parts = [predict(potential, s).energies[0] for s in (a, b)]
    found = predict(potential, both).energies[0]
    close(found, np.concatenate(parts), TIGHT, "energies of far fragments")


def _exactly_zero(values, what: str) -> None:
    assert np.all(np.asarray(values) == 0), f"Not exactly zero: {what}."
