"""The benchmark: backbones, long-range layers and splits composed.

`load_grid` and `run_grid` train and test; `read_results` and `write_report` summarize
the results; `load_potential`, `predict` and `simulate` use a trained potential;
`prepare`, `open_dataset` and `make_split` prepare, open and split data.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.dataset.opening import open_dataset
    from bench.dataset.preparing import prepare
    from bench.dynamics.study.simulate import simulate
    from bench.evaluation.predicting import predict
    from bench.evaluation.run_files import read_results
    from bench.experiment.grid import run_grid
    from bench.experiment.splits import make_split
    from bench.model.saved import load_potential
    from bench.report.write import write_report
    from bench.settings.grid import load_grid
    from bench.settings.preparation import Filters, PreparationSettings
    from bench.settings.reading import ReadSettings
    from bench.settings.simulation import SimulationSettings, StructureSettings

__all__ = [
    "Filters",
    "PreparationSettings",
    "ReadSettings",
    "SimulationSettings",
    "StructureSettings",
    "load_grid",
    "load_potential",
    "make_split",
    "open_dataset",
    "predict",
    "prepare",
    "read_results",
    "run_grid",
    "simulate",
    "write_report",
]

# Imported on first use: JAX takes seconds to load, `bench --help` needs none of it.
_MODULES = {
    "Filters": "bench.settings.preparation",
    "PreparationSettings": "bench.settings.preparation",
    "ReadSettings": "bench.settings.reading",
    "SimulationSettings": "bench.settings.simulation",
    "StructureSettings": "bench.settings.simulation",
    "load_grid": "bench.settings.grid",
    "load_potential": "bench.model.saved",
    "make_split": "bench.experiment.splits",
    "open_dataset": "bench.dataset.opening",
    "predict": "bench.evaluation.predicting",
    "prepare": "bench.dataset.preparing",
    "read_results": "bench.evaluation.run_files",
    "run_grid": "bench.experiment.grid",
    "simulate": "bench.dynamics.study.simulate",
    "write_report": "bench.report.write",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
