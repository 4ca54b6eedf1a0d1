"""Errors of the grids against the phases they integrate, and of float32.

First, for phases x = omega r up to 12 pi, the grid that `lebedev_grid(x)` chooses and
the largest error of `attend` by quadrature against sin(x)/x over 400 directions of a
pair of atoms: at x, and a quarter beyond the grid's reach; and the same for the 50
points of all published models. Then what turning and moving a structure of 200 atoms
changes, by every form in float32 and in float64, relative to the largest result, and
how far float32 is from float64. It runs on whatever device jax finds.

    python accuracy.py
"""

import argparse

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from lr_efa import (
    LebedevGrid,
    attend,
    attend_periodic,
    frequency_grid,
    lebedev_grid,
    shell_grid,
)

PUBLISHED = LebedevGrid(11)


def largest_error(grid, x, directions):
    """Of the integral of one plane wave, over directions of a pair of atoms."""
    query, value = jnp.array([[1.0, 0.0]] * 2), jnp.array([[0.0], [1.0]])

    @jax.jit
    def seen(direction):
        positions = jnp.stack([0 * direction, x * direction])
        omegas = np.ones(1)
        both = attend(
            query, query, value, positions, omegas, method="quadrature", grid=grid
        )
        return both[0, 0] * 2**0.5

    found = jax.vmap(seen)(directions)
    return float(jnp.max(jnp.abs(found - np.sinc(x / np.pi))))


def errors_of_grids(phases):
    directions = jr.normal(jr.key(0), (400, 3))
    directions /= jnp.linalg.norm(directions, axis=1)[:, None]
    print(f"{'x/pi':>5} {'points':>6} {'reach/pi':>8} {'error':>8}", end=" ")
    print(f"{'at 1.25 reach':>13} {'50 points':>9}")
    for b in phases:
        grid = lebedev_grid(b * np.pi)
        ways = (grid, b * np.pi), (grid, 1.25 * grid.max_phase), (PUBLISHED, b * np.pi)
        found = [largest_error(*way, directions) for way in ways]
        row = f"{b:5.1f} {len(grid):6} {grid.max_phase / np.pi:8.2f} {found[0]:8.0e}"
        print(row, f"{found[1]:13.0e} {found[2]:9.0e}", flush=True)


def forms():
    """Every form on 200 atoms of a crystal of 18 Å, or of a molecule of that size."""
    cell = 18 * np.eye(3) + np.array([[0, 1, 0], [0, 0, 2], [-1, 0, 0]])
    omegas, width = frequency_grid(8, 2.0), 0.15
    plan, sphere = shell_grid(cell, omegas, shell_width=width), lebedev_grid(2.0 * 36)
    turned_plan = lambda turn: shell_grid(cell @ turn, omegas, shell_width=width)

    def periodic(q, k, v, r, turn):
        lattice = jnp.asarray(cell @ turn, r.dtype)
        grid = plan if turn is EYE else turned_plan(turn)
        return attend_periodic(
            q, k, v, r, lattice, omegas, shell_width=width, grid=grid
        )

    def opened(method):
        return lambda q, k, v, r, turn: attend(
            q, k, v, r, omegas, method=method, grid=sphere
        )

    return cell, {
        "exact": opened("exact"),
        "quadrature": opened("quadrature"),
        "periodic": periodic,
    }


EYE = np.eye(3)


def invariance():
    rng = np.random.default_rng(0)
    cell, each = forms()
    features = [rng.normal(size=(200, n)) for n in (16, 16, 16)]
    positions = rng.uniform(0, 1, (200, 3)) @ cell
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    moves = {"turned": (turn, 0.0), "moved 100 A": (EYE, 100.0)}
    print(f"\n{'form':<11} {'dtype':<8}", *(f"{m:>12}" for m in moves), "from float64")
    for name, form in each.items():
        for dtype in ("float32", "float64"):
            call = lambda r, turn, form=form, dtype=dtype: np.asarray(
                form(*(jnp.asarray(x, dtype) for x in (*features, r)), turn)
            )
            here = call(positions, EYE)
            scale = np.max(np.abs(here))
            changes = [
                np.max(np.abs(call(positions @ t + d, t) - here)) / scale
                for t, d in moves.values()
            ]
            with jax.enable_x64(True):
                exact = np.asarray(form(*map(jnp.asarray, (*features, positions)), EYE))
            changes.append(np.max(np.abs(exact - here)) / scale)
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
