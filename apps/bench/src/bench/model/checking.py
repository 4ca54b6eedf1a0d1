"""Checks of the models of a grid, before data are read and before a training."""

import equinox as eqx
from backbones import Potential, check_savable

from bench.exceptions import BenchError
from bench.model.building import build_layers
from bench.settings.grid import Grid
from bench.settings.installed import BACKBONES, LAYERS


def check_models(grid: Grid) -> None:
    """Raises an error for settings with which a layer or backbone cannot be built.

    Only models with layers or backbones of other packages are checked, as the settings
    of the others have been checked with the grid. Nothing is computed.

    Args:
        grid: settings.

    Raises:
        BenchError: a package cannot be imported, a backbone has no such hook, or a
            constructor does not take the settings.
    """
    checked = set()
    for run in grid.runs():
        names = {run.backbone, *run.long_range.split("+")}
        if names <= {*BACKBONES, *LAYERS, "none"} or run.model in checked:
            continue
        checked.add(run.model)
        eqx.filter_eval_shape(build_layers, grid.model, run)


def check_writable(potential: Potential) -> None:
    """Raises an error before a training if its model could not be written afterwards.

    Args:
        potential: of a run, with initial weights.

    Raises:
        BenchError: a layer or the backbone is no entry point of its package, or cannot
            be rebuilt from its arguments.
    """
    try:
        check_savable(potential)
    except ValueError as error:
        raise BenchError(str(error)) from error
