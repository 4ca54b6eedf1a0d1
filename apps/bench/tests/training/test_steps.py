"""Gradient accumulation and data-parallel training."""

import json
import os
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from bench.dataset.per_element import fit_atomic_energies
from bench.exceptions import BenchError
from bench.experiment.parallel import run_single
from bench.experiment.runner import GridRunner
from bench.experiment.train_and_test import batch_for_model
from bench.training.loss import loss
from bench.training.steps import device_mesh, step_inputs, sum_over_batches


@pytest.fixture
def grid(small_grid):
    return small_grid.model_copy(update={"splits": ("random",), "long_range": ("les",)})


def with_training(grid, **changes):
    return grid.model_copy(update={"train": grid.train.model_copy(update=changes)})


def test_accumulated_gradients_equal_those_of_one_large_batch(grid, tmp_path):
    """Three batches of four structures against one of twelve."""
    from bench.model.building import build_potential

    runner = GridRunner(grid, tmp_path)
    atomic_energies = fit_atomic_energies(runner.data)
    run = grid.runs()[0]
    potential = build_potential(
        grid.model, run, atomic_energies, avg_num_neighbors=4.0, scale=1.0
    )
    results = []
    for batch, accumulate in ((4, 3), (12, 1)):
        settings = with_training(
            grid, batch_size=batch, accumulate_grad_batches=accumulate
        ).train
        varied = with_training(
            grid, batch_size=batch, accumulate_grad_batches=accumulate
        )
        batched = batch_for_model(varied, run, runner.data)
        batched = batched.with_atomic_energies(atomic_energies)
        mesh = device_mesh(settings)
        rng = np.random.default_rng(0)
        (inputs,) = step_inputs(batched, np.arange(12), rng, settings, mesh)
        assert inputs[0].mask.shape[:3] == (accumulate, 1, batch)
        weights, rest = eqx.partition(potential, eqx.is_inexact_array)

        def value_and_gradient(inputs, shared, rest=rest):
            weights, step_targets = shared
            loss_of_weights = lambda w: loss(
                eqx.combine(w, rest), *inputs, grid.train.loss, step_targets
            )
            return jax.value_and_grad(loss_of_weights)(weights)

        total = jax.jit(sum_over_batches(value_and_gradient, mesh))
        results.append(total(inputs, (weights, inputs[1])))
    values, gradients = zip(*results, strict=True)
    np.testing.assert_allclose(*values, rtol=1e-5)
    largest = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(gradients[0]))
    for a, b in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * largest)


PROGRAM = """
import sys
from pathlib import Path
import jax
from bench.settings.grid import load_grid
from bench.experiment.parallel import run_single
assert len(jax.devices()) == 2
grid = load_grid(sys.argv[1])
print(run_single(grid, Path(sys.argv[2]), grid.runs()[0]))
"""


def test_two_devices_equal_one_with_gradient_accumulation(grid, tmp_path):
    """The same batches per step, so the same weights up to rounding."""
    one = with_training(grid, accumulate_grad_batches=2, devices=1)
    two = with_training(grid, devices=2)
    (tmp_path / "one").mkdir()
    assert run_single(one, tmp_path / "one", one.runs()[0]) is None
    config = tmp_path / "two.yaml"
    config.write_text(yaml.safe_dump(two.model_dump(mode="json")))
    (tmp_path / "two").mkdir()
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command = [sys.executable, "-c", PROGRAM, str(config), str(tmp_path / "two")]
    done = subprocess.run(
        command, env=os.environ | flags, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "None", done.stderr
    rows = []
    for name in ("one", "two"):
        folder = tmp_path / name / two.runs()[0].name
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        rows.append([json.loads(line) for line in lines])
    assert len(rows[0]) == len(rows[1]) == grid.train.epochs
    for a, b in zip(*rows, strict=True):
        np.testing.assert_allclose(a["train_loss"], b["train_loss"], rtol=1e-4)
        np.testing.assert_allclose(
            a["validation_loss"], b["validation_loss"], rtol=1e-3
        )


def test_too_many_devices_raise_a_one_line_error(grid):
    with pytest.raises(BenchError, match="asks for 99 devices and JAX finds"):
        device_mesh(with_training(grid, devices=99).train)
