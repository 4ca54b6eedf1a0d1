"""Reads every folder of published data and prints what was found, and in what time.

Data are looked for in the folder `BENCH_DATA` or `shared/data` beside the
repository. Times are of one process and of its processor. `--quick` leaves out the
folders that take longer than seconds.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from bench.dataset.preparing import prepare
from bench.dataset.request import PreparationRequest
from bench.sources import Reading

BESIDE = Path(__file__).parents[3].parent / "shared" / "data"
DATA = Path(os.environ.get("BENCH_DATA") or BESIDE)

SOURCES = {
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
    for name, names in SOURCES.items():
        if not (DATA / name).exists() or (quick and name in LARGE):
            continue
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            request = PreparationRequest(str(DATA / name), Reading(**names))
            header = prepare(request, Path(folder) / "out")
            took = time.process_time() - began
        labels = ", ".join(
            f"{k} {n}" if n < header["structures"] else k
            for k, n in header["labels"].items()
            if n
        )
        print(
            f"| {name} | {header['read_as']} | {header['read']} "
            f"| {header['structures']} | {header['atoms']} | {labels} | {took:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
