"""Errors of Lebedev grids as a function of the phase, and of float32.

First, for phases x = omega r up to 12 pi: the grid that `lebedev_grid(x)` chooses, and
the largest error of `attend` by quadrature relative to sin(x)/x over 400 directions of
a pair of atoms, at x and at 1.25 times the `max_phase` of the grid; the same for the 50
points of all published models. Second, for a structure of 200 atoms and every form in
float32 and float64: the relative change of the results under rotation and translation,
and the difference between float32 and float64. Runs on the default device of JAX.

    python accuracy.py
"""

import argparse

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from lr_efa import (
    LebedevGrid,
    OpenPlan,
    ShellGrid,
    attend,
    frequency_grid,
    lebedev_grid,
)

PUBLISHED = LebedevGrid(11)


def largest_error(grid, x, directions):
    """Largest error of one plane wave over directions of a pair of atoms."""
    query, value = jnp.array([[1.0, 0.0]] * 2), jnp.array([[0.0], [1.0]])

    @jax.jit
    def attended(direction):
        positions = jnp.stack([0 * direction, x * direction])
        options = {"frequencies": np.ones(1), "plan": OpenPlan(grid, 1.0)}
        features = query, query, value
        result = attend(*features, positions, method="quadrature", **options)
        return result[0, 0] * 2**0.5

    results = jax.vmap(attended)(directions)
    return float(jnp.max(jnp.abs(results - np.sinc(x / np.pi))))


def errors_of_grids(phases):
    directions = jr.normal(jr.key(0), (400, 3))
    directions /= jnp.linalg.norm(directions, axis=1)[:, None]
    print(f"{'x/pi':>5} {'points':>6} {'max/pi':>8} {'error':>8}", end=" ")
    print(f"{'at 1.25 max':>13} {'50 points':>9}")
    for b in phases:
        grid = lebedev_grid(b * np.pi)
        cases = (grid, b * np.pi), (grid, 1.25 * grid.max_phase), (PUBLISHED, b * np.pi)
        errors = [largest_error(*case, directions) for case in cases]
        row = f"{b:5.1f} {len(grid):6} {grid.max_phase / np.pi:8.2f} {errors[0]:8.0e}"
        print(row, f"{errors[1]:13.0e} {errors[2]:9.0e}", flush=True)


def forms():
    """Every form for 200 atoms in a cell of 18 Å or in a molecule of that size."""
    cell = 18 * np.eye(3) + np.array([[0, 1, 0], [0, 0, 2], [-1, 0, 0]])
    omegas = frequency_grid(8, 2.0)
    sphere = OpenPlan(lebedev_grid(2.0 * 36), omegas[-1])
    plan_of = lambda cell: ShellGrid.for_structures(
        cell, np.zeros((200, 3)), frequencies=omegas
    )
    plan = plan_of(cell)

    def periodic(q, k, v, r, rotation):
        lattice = jnp.asarray(cell @ rotation, r.dtype)
        shells = plan if rotation is IDENTITY else plan_of(cell @ rotation)
        return attend(q, k, v, r, lattice, frequencies=omegas, plan=shells)

    def open_form(method):
        return lambda q, k, v, r, rotation: attend(
            q, k, v, r, frequencies=omegas, method=method, plan=sphere
        )

    return cell, {
        "exact": open_form("exact"),
        "quadrature": open_form("quadrature"),
        "periodic": periodic,
    }


IDENTITY = np.eye(3)


def invariance():
    rng = np.random.default_rng(0)
    cell, all_forms = forms()
    features = [rng.normal(size=(200, n)) for n in (16, 16, 16)]
    positions = rng.uniform(0, 1, (200, 3)) @ cell
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    moves = {"rotated": (rotation, 0.0), "translated": (IDENTITY, 100.0)}
    print(
        f"\n{'form':<11} {'dtype':<8}",
        *(f"{m:>12}" for m in moves),
        "difference from float64",
    )
    for name, form in all_forms.items():
        for dtype in ("float32", "float64"):
            call = lambda r, rotation, form=form, dtype=dtype: np.asarray(
                form(*(jnp.asarray(x, dtype) for x in (*features, r)), rotation)
            )
            reference = call(positions, IDENTITY)
            scale = np.max(np.abs(reference))
            changes = [
                np.max(np.abs(call(positions @ t + d, t) - reference)) / scale
                for t, d in moves.values()
            ]
            with jax.enable_x64(True):
                exact = np.asarray(
                    form(*map(jnp.asarray, (*features, positions)), IDENTITY)
                )
            changes.append(np.max(np.abs(exact - reference)) / scale)
            print(
                f"{name:<11} {dtype:<8}", *(f"{x:12.0e}" for x in changes), flush=True
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three phases")
    quick = parser.parse_args().quick
    print(f"on {jax.devices()[0].device_kind}")
    with jax.enable_x64(True):
        errors_of_grids((1, 4, 12) if quick else range(1, 13))
        invariance()


if __name__ == "__main__":
    main()
