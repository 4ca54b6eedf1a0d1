"""Prepares all folders of published data; prints their content and processor times.

The data are in the folder `BENCH_DATA`, by default `shared/data` next to the
repository. One process reads them. `--quick` skips the folders that take longer than
seconds.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from bench.dataset.preparing import prepare
from bench.settings.preparation import PreparationSettings

DEFAULT_DATA = Path(__file__).parents[3].parent / "shared" / "data"
DATA = Path(os.environ.get("BENCH_DATA") or DEFAULT_DATA)

KEYS_BY_FOLDER = {
    "omol25_aselmdb": {},
    "odac25_format_fixture": {},
    "qmof_format_fixture": {},
    "qmof_format_fixture/relaxed_structures": {},
    "qmof": {},
    "core_ddec3": {},
    "odac23_ddec_mofs": {},
    "qmof_hse06_vasprun": {},
    "golddac": dict(energy="REF_energy", forces="REF_forces", id="name"),
    "aimnet_charged_molecules": {},
    "lode_charged_dimers": dict(total_charge="chargeA+chargeB"),
    "spice_bec": {},
    "spice_dipeptides_les": dict(forces="force", charges="mbi_charges"),
    "water_deepmd": {},
    "water_rpbe_d3_les": {},
    "efa_profiles": {},
    "ncia": dict(energy="interaction_energy"),
    "sapt10k": dict(energy="interaction_energy"),
    "cmm_ion_scans": dict(energy="eda_int"),
    "water_bec_pbc": dict(born_charges="apt"),
}
LARGE = ("qmof", "efa_profiles", "odac23_ddec_mofs")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    print("| folder | format | read | kept | atoms | labels | s |")
    print("|---|---|---|---|---|---|---|")
    for name, keys in KEYS_BY_FOLDER.items():
        if not (DATA / name).exists() or (quick and name in LARGE):
            continue
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            request = PreparationSettings(source=str(DATA / name), keys=keys)
            header = prepare(request, Path(folder) / "out")
            seconds = time.process_time() - start
        labels = ", ".join(
            f"{k} {n}" if n < header["structures"] else k
            for k, n in header["labels"].items()
            if n
        )
        print(
            f"| {name} | {header['read_as']} | {header['read']} "
            f"| {header['structures']} | {header['atoms']} | {labels} "
            f"| {seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
