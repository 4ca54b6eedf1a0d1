"""Readers of another package (`tests/plugin`), found by their entry points."""

import subprocess
import sys

import bench
import pytest
from bench.exceptions import BenchError
from bench.settings.installed import READERS, installed_names, load_installed


@pytest.fixture
def tables(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    for i in range(4):
        text = f"# E {-1.0 - i}\n8 0 0 0\n1 0 0 0.9{i}\n1 0.9{i} 0 0\n"
        (folder / f"water-{i}.atoms").write_text(text)
    return folder


@pytest.mark.parametrize("read", [{}, {"format": "plain-table"}])
def test_a_reader_is_found_by_suffix_and_by_name(read, tables, tmp_path):
    (tables / "README").write_text("not a structure")
    source = str(tables / "*.atoms") if read else str(tables)
    settings = bench.PreparationSettings(
        source=source, keys={"energy": "E"}, read={"energy_unit": "hartree", **read}
    )
    header = bench.prepare(settings, tmp_path / "out")
    assert (header["structures"], header["read_as"]) == (4, "plain-table")
    dataset = bench.open_dataset(str(tmp_path / "out"))
    assert dataset.samples[3].energy == pytest.approx(-4.0 * 27.211386, rel=1e-7)


def test_an_unknown_format_lists_what_is_installed(tables, tmp_path):
    settings = bench.PreparationSettings(source=str(tables), read={"format": "tables"})
    with pytest.raises(BenchError, match="no format 'tables': .*npz, .*plain-table"):
        bench.prepare(settings, tmp_path / "out")
    with pytest.raises(BenchError, match="no reader 'plain'.* mean 'plain-table'"):
        load_installed(READERS, "plain")


def test_other_packages_are_imported_only_when_used(tmp_path):
    (tmp_path / "a.extxyz").write_text("1\nenergy=1\nH 0 0 0\n")
    program = (
        "import sys, bench; from bench.settings.installed import installed_names; "
        "bench.prepare(bench.PreparationSettings(source='a.extxyz'), 'out'); "
        "assert 'plain-table' in installed_names('bench.readers'); "
        "assert not {'example_plugin', 'h5py'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)


def test_broken_and_conflicting_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "faulty_plugin-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-plugin\n")
    (folder / "entry_points.txt").write_text(
        "[bench.readers]\nnpz = faulty_plugin:Npz\nfaulty = faulty_plugin:Faulty\n"
    )
    (tmp_path / "faulty_plugin.py").write_text("raise RuntimeError('too\\nold')\n")
    assert {"npz", "faulty"} <= set(installed_names(READERS))
    with pytest.raises(BenchError) as caught:
        load_installed(READERS, "faulty")
    assert str(caught.value) == (
        "The reader 'faulty' of the package faulty-plugin cannot be imported (too "
        "old): update or uninstall faulty-plugin."
    )
    with pytest.raises(BenchError, match="bench and faulty-plugin both have a reader"):
        load_installed(READERS, "npz")
