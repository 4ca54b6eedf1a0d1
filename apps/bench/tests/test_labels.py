"""A label is one row of the table and its reader key: magnetic moments."""

import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from bench.dataset.columns import FLAGS
from bench.dataset.opening import open_dataset
from bench.dataset.preparing import prepare
from bench.dataset.summary import describe
from bench.dataset.warnings import warnings_of
from bench.evaluation.errors import errors_of, floor_of
from bench.evaluation.intervals import absolute_errors
from bench.evaluation.predicting import Prediction
from bench.evaluation.prediction_files import write_predictions
from bench.labels import KINDS, LABELS
from bench.report.parity import parity
from bench.settings.preparation import PreparationSettings

ROOT = Path(__file__).parents[3]
ALLOWED = (
    "apps/bench/src/bench/labels.py",
    "apps/bench/src/bench/sources/",
    "apps/bench/src/bench/evaluation/response.py",
    "packages/lr-les/src/lr_les/",
)


@pytest.fixture
def file(toy_structure, tmp_path):
    """Four structures with moments as ASE writes them, and one without."""
    frames = [toy_structure(i) for i in range(5)]
    for i, atoms in enumerate(frames[:4]):
        moments = np.arange(len(atoms)) + 0.5 * i
        results = atoms.calc.results | {"magmoms": moments}
        atoms.calc = SinglePointCalculator(atoms, **results)
    path = tmp_path / "magnetic.extxyz"
    ase.io.write(path, frames, format="extxyz")
    return path


def test_moments_are_read_stored_and_described(file, tmp_path):
    out = tmp_path / "prepared"
    header = prepare(PreparationSettings(source=str(file)), out)
    assert header["labels"]["magnetic_moments"] == 4
    data = open_dataset(str(out))
    moments = [s.magnetic_moments for s in data.samples]
    np.testing.assert_array_equal(moments[2], np.arange(5) + 1.0)
    assert moments[4] is None
    text = describe(data)
    assert "magnetic_moments `magmoms` (4 of 5)" in text
    rms = np.sqrt(np.mean([np.square(m) for m in moments[:4]]))
    assert f"magnetic moments {rms:.3g} μB RMS, largest 5.5" in text


def test_another_key_is_suggested_and_used(file, tmp_path):
    frames = ase.io.read(file, ":")
    for atoms in frames:
        moments = atoms.calc.results.pop("magmoms", None)
        if moments is not None:
            atoms.arrays["dft_magmom"] = moments
    ase.io.write(file, frames, format="extxyz")
    unread = [w for w in warnings_of(open_dataset(str(file))) if "dft_magmom" in w]
    assert "-o keys.magnetic_moments=dft_magmom" in unread[0]
    keys = {"magnetic_moments": "dft_magmom"}
    header = prepare(PreparationSettings(source=str(file), keys=keys), tmp_path / "out")
    assert header["labels"]["magnetic_moments"] == 4


def test_noncollinear_moments_are_rejected_with_their_shape(file):
    frames = ase.io.read(file, ":")
    frames[0].calc.results.pop("magmoms")
    frames[0].arrays["magnetic_moments"] = np.ones((5, 3))
    ase.io.write(file, frames, format="extxyz")
    header = open_dataset(str(file), strict=False).header
    assert header["rejected"] == 1
    reason = header["rejected_examples"][0][1]
    assert "magnetic_moments has shape (5, 3)" in reason
    assert 'keys.magnetic_moments="" leaves it out' in reason


def test_a_label_with_an_empty_key_is_not_read(file, tmp_path):
    keys = {"magnetic_moments": ""}
    header = prepare(PreparationSettings(source=str(file), keys=keys), tmp_path / "out")
    assert header["labels"]["magnetic_moments"] == 0


def test_predicted_moments_are_compared_with_labels(file, tmp_path):
    """No model of bench predicts them; errors, files and figures need no change."""
    data = open_dataset(str(file))
    samples = list(data.samples)
    predictions = [
        Prediction({"charges": np.zeros(5), "magnetic_moments": np.arange(5.0)})
        for _ in samples
    ]
    errors = errors_of(predictions, samples)
    np.testing.assert_allclose(errors["magnetic_moment_mae"], 750.0)
    assert "magnetic_moment_r2" in errors.as_dict()
    floor = floor_of(samples, {1: 0.0, 6: 0.0, 8: 0.0}, {})
    assert floor["magnetic_moment_mae"] > errors["magnetic_moment_mae"]
    path, members = tmp_path / "predictions.extxyz", np.arange(5)
    energies = {1: 0.0, 6: 0.0, 8: 0.0}
    write_predictions(path, data, {"test": members}, {"test": predictions}, energies)
    frames = ase.io.read(path, ":")
    mean = np.mean([absolute_errors(f, "magnetic_moment") for f in frames[:4]])
    np.testing.assert_allclose(mean, 750.0)
    assert absolute_errors(frames[4], "magnetic_moment") is None
    (panel,) = parity(frames, "moments", ["magnetic_moment"]).axes
    assert panel.get_title() == "magnetic moments"
    assert panel.get_xlabel() == "label (μB)"


def test_stored_bits_of_labels_do_not_change():
    bits = {name: bit.bit_length() - 1 for name, bit in FLAGS.items()}
    assert bits == {
        "energy": 0,
        "forces": 1,
        "stress": 2,
        "charges": 3,
        "total_charge": 4,
        "spin": 5,
        "tags": 6,
        "dipole": 7,
        "born_charges": 8,
        "magnetic_moments": 9,
    }
    assert len(set(bits.values())) == len(LABELS) > len(KINDS)


@pytest.mark.skipif(not (ROOT / "packages").exists(), reason="bench alone")
def test_a_label_is_named_only_in_the_table_the_readers_and_the_kernels():
    sources = [*ROOT.glob("packages/*/src/**/*"), *ROOT.glob("apps/bench/src/**/*")]
    named = {
        path.relative_to(ROOT).as_posix()
        for path in sources
        if path.suffix in (".py", ".jinja", ".html")
        and re.search("born_charges", path.read_text(encoding="utf-8"))
    }
    assert {path for path in named if not path.startswith(ALLOWED)} == set()
    assert "apps/bench/src/bench/labels.py" in named
