# /// script
# requires-python = ">=3.12"
# dependencies = [
#     "ase>=3.26,<4",
#     "numpy>=2,<3",
#     "pormake==0.2.3",
#     "rdkit>=2025.3",
#     "scipy>=1.13",
#     "tblite>=0.8,<0.9",
#     "tqdm>=4.66",
#     "typer>=0.15",
# ]
# ///
"""Generates the two data sets bundled with `bench` and labels them with xTB.

`uv run tools/make_dataset.py COMMAND`, where `ions` writes molecules and ions
(GFN2-xTB), `frameworks` metal-organic frameworks (GFN1-xTB), `check` recomputes a few
committed frames and `readme` rewrites the statistics in the README.

Units: Å, eV, e; forces eV/Å; stress eV/Å³ in ASE's sign and Voigt order; dipole e Å.
Each structure is a job in a separate process, with a time limit. The results of
finished jobs are cached, keyed by the hash of this script, so that an interrupted run
is resumed. Structures and frames depend on the seed only.
"""

import contextlib
import functools as ft
import hashlib
import importlib.metadata
import importlib.util
import io
import itertools
import json
import lzma
import multiprocessing as mp
import os
import signal
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Annotated, Any

import ase.io
import numpy as np
import typer
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols, covalent_radii, vdw_radii
from ase.filters import FrechetCellFilter
from ase.geometry import get_distances
from ase.neighborlist import natural_cutoffs, neighbor_list
from ase.optimize import LBFGS
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

DATA = Path(__file__).resolve().parents[1] / "apps/bench/src/bench/data"
METHODS = {"frameworks": "GFN1-xTB", "ions": "GFN2-xTB"}
# Number of decimals of each label, in the units above.
DECIMALS = {"energy": 7, "forces": 5, "stress": 8, "charges": 5, "dipole": 5}
POSITION_DECIMALS = 5

MAX_FORCE = 15.0  # eV/Å, on any atom of a labeled frame
MIN_CONTACT = 0.65  # times the sum of two covalent radii
BROKEN_BOND = 1.35  # times the sum of two covalent radii
NEW_BOND = 1.25  # times the same sum, for two atoms not bonded in the SMILES
MAX_TRANSFER = 0.5  # times a fragment's formal charge, or e if that is 0
MIN_HEIGHT = 11.0  # Å between opposite faces of a cell
FRAMEWORK_ATOMS = (30, 84)  # larger frameworks take minutes and add little variety
ION_ATOMS = (5, 40)

Frames = tuple[list[Atoms], Counter]
Job = Callable[[], Frames]


class Rejected(Exception):
    """A structure or frame fails a filter; the message is the reason."""


# --- labels ---------------------------------------------------------------------


def calculator(method: str, charge: int, accuracy: float = 0.1) -> Any:
    """Returns a closed-shell tblite calculator that uses one thread."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read when tblite's library is loaded
    from tblite.ase import TBLite

    return TBLite(
        method=method, charge=charge, multiplicity=1, accuracy=accuracy, verbosity=0
    )


def label(atoms: Atoms, method: str, charge: int) -> Atoms:
    """Returns the rounded geometry with its labels.

    Args:
        atoms: positions and cell, Å.
        method: `GFN1-xTB` or `GFN2-xTB`.
        charge: total charge, e.
    """
    frame = Atoms(
        atoms.numbers,
        positions=atoms.positions.round(POSITION_DECIMALS),
        cell=atoms.cell.array.round(POSITION_DECIMALS),
        pbc=atoms.pbc,
    )
    frame.calc = calculator(method, charge)
    try:
        frame.get_potential_energy()
    except CalculationFailed:
        raise Rejected("SCF not converged") from None
    undefined = "dipole" if frame.pbc.any() else "stress"
    results = {
        name: np.round(frame.calc.results[name], decimals)
        for name, decimals in DECIMALS.items()
        if name != undefined
    }
    frame.calc = SinglePointCalculator(frame, **results)
    if np.linalg.norm(results["forces"], axis=1).max() > MAX_FORCE:
        raise Rejected(f"force above {MAX_FORCE:g} eV/Å")
    return frame


def frame_info(group: str, number: int, charge: int) -> dict[str, Any]:
    """Returns the entries of `atoms.info` that all frames have."""
    return {
        "id": f"{group}-{number}",
        "group": group,
        "total_charge": charge,
        "spin": 1,
    }


def relax(atoms: Atoms | FrechetCellFilter, steps: int, fmax: float) -> Iterator[None]:
    """Relaxes in place and yields after each step, until `fmax` (eV/Å)."""
    try:
        for _ in LBFGS(atoms, logfile=None, maxstep=0.1).irun(fmax=fmax, steps=steps):
            yield
    except CalculationFailed:
        raise Rejected("SCF not converged") from None


def check_contacts(atoms: Atoms) -> None:
    """Rejects structures with atoms closer than `MIN_CONTACT`."""
    radii = natural_cutoffs(atoms, mult=MIN_CONTACT)
    if len(neighbor_list("i", atoms, radii)):
        raise Rejected(f"contact below {MIN_CONTACT:g} of the covalent radii")


# --- molecules and ions ---------------------------------------------------------

SCAFFOLDS = "C CC CC(C) OCC FC(F)(F)C ClCC c1ccccc1 Fc1ccc(cc1) Brc1ccc(cc1) c1cscc1"
GROUPS = """
N [NH3+] [N+](C)(C)C O [O-] S [S-] [S+](C)C [P+](C)(C)C C(=O)N C(N)=N C(N)=[NH2+]
C(=O)O C(=O)[O-] S(=O)(=O)O S(=O)(=O)[O-] P(=O)(O)O P(=O)(O)[O-] P(=O)([O-])[O-]
OS(=O)(=O)[O-] OP(=O)(O)[O-] [n+]1ccccc1 n1ccnc1 n1cc[nH+]c1 B(O)O [B-](F)(F)F
"""
ENDS = "N [NH3+] C[N+](C)(C) OC(=O) [O-]C(=O) c1cc[nH+]cc1"
SPACERS = "C CCC C(C) C(CO) C(CS) C(C(C)C) c1ccc(cc1)"
ACIDS = "C(=O)O C(=O)[O-] S(=O)(=O)[O-] P(=O)(O)[O-] P(=O)([O-])[O-]"
CHAINS = "CC CCC CCCC CCOCC c1ccc(cc1)"
AMINES = "N [NH3+] [N+](C)(C)C [n+]1ccn(C)c1"
OTHERS = """
O=C([O-])C(=O)[O-] O=C(O)C(=O)[O-] O=C([O-])C=CC(=O)[O-] [O-]P(=O)([O-])O
F[P-](F)(F)(F)(F)F [O-]Cl(=O)(=O)=O NC(N)=O NC(N)=[NH2+] c1ccncc1 c1cc[nH+]cc1
[NH3+]CC[NH2+]CC[NH3+] C[n+]1ccc(cc1)-c1cc[n+](C)cc1 CCn1cc[n+](C)c1 c1nnn[n-]1
[O-][N+](=O)c1ccccc1 [O-]c1ccc(cc1)[N+](=O)[O-] C[Si](C)(C)C CI FCI
"""
CATIONS = "[Li+] [Na+] [K+] [NH4+] C[NH3+] C[N+](C)(C)C NC(N)=[NH2+] c1cc[nH+]cc1"
ANIONS = """
[Cl-] [Br-] [I-] CC(=O)[O-] O=[N+]([O-])[O-] CS(=O)(=O)[O-] F[B-](F)(F)F
O=C([O-])c1ccccc1
"""
COMPLEXES = """
[Na+].[Cl-].O [K+].[Br-].O [Li+].[F-].O.O [Mg+2].[Cl-].[Cl-].O [Ca+2].[Cl-].[Cl-].O
[Mg+2].O.O [Ca+2].O.O.O [Na+].O.O [K+].NC=O [Li+].COC [Na+].c1ccccc1 [Cl-].O.O
[Br-].CO [I-].CC#N [Cl-].NC(N)=O CC(=O)[O-].O [NH4+].O.O C[NH3+].CO
[Na+].[NH3+]CC(=O)[O-] [Cl-].[NH3+]CC(=O)[O-] [Na+].[Cl-].[Na+].O [Cl-].[Na+].[Cl-].O
[Na+].[Na+].O=C([O-])C(=O)[O-] [Na+].O=C([O-])C(=O)[O-] [Cl-].[NH3+]CCC[NH3+]
[Cl-].[Cl-].[NH3+]CCC[NH3+] [Mg+2].CC(=O)[O-] [Ca+2].CC(=O)[O-].CC(=O)[O-]
"""
CONTACT = 0.7  # times the sum of two van der Waals radii: 1.8 Å for H...O
GAPS = (0.0, 0.4, 1.0, 2.2, 4.5)  # Å between fragments, beyond contact
DISPLACEMENTS = (0.01, 0.025, 0.04, 0.055)  # Å, standard deviation per coordinate


def species() -> list[str]:
    """Returns the canonical SMILES of all species, in a fixed order.

    Functional groups in all protonation states are combined with the same scaffolds, so
    that many species differ by a proton only; pairs and small clusters follow.
    """
    from rdkit import Chem

    single = itertools.product(SCAFFOLDS.split(), GROUPS.split())
    acids = itertools.product(ENDS.split(), SPACERS.split(), ACIDS.split())
    amines = itertools.product(ENDS.split()[:3], CHAINS.split(), AMINES.split())
    pairs = (".".join(p) for p in itertools.product(CATIONS.split(), ANIONS.split()))
    molecules = map("".join, itertools.chain(single, acids, amines))
    canonical = {}
    for smiles in [*molecules, *OTHERS.split(), *pairs, *COMPLEXES.split()]:
        molecule = Chem.MolFromSmiles(smiles)
        atoms = Chem.AddHs(molecule).GetNumAtoms()
        charge = Chem.GetFormalCharge(molecule)
        if ION_ATOMS[0] <= atoms <= ION_ATOMS[1] and abs(charge) <= 2:
            canonical[Chem.MolToSmiles(molecule)] = None
    return list(canonical)


def check_bonds(atoms: Atoms, bonds: np.ndarray) -> None:
    """Rejects a fragment whose bonds differ from those of its SMILES."""
    radii = covalent_radii[atoms.numbers]
    ratio = atoms.get_all_distances() / (radii[:, None] + radii)
    if (ratio[bonds] > BROKEN_BOND).any():
        raise Rejected("bond broken")
    if (ratio[~bonds & ~np.eye(len(atoms), dtype=bool)] < NEW_BOND).any():
        raise Rejected("bond formed")


def conformers(smiles: str, count: int, seed: int) -> tuple[list[Atoms], np.ndarray]:
    """Returns MMFF conformers of one fragment, and its bonds [atoms, atoms]."""
    from rdkit import Chem, RDLogger
    from rdkit.Chem import AllChem

    RDLogger.DisableLog("rdApp.*")
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMultipleConfs(molecule, count, randomSeed=seed % 2**31)
    if not molecule.GetNumConformers():
        raise Rejected("no conformer embedded")
    if AllChem.MMFFHasAllMoleculeParams(molecule):
        AllChem.MMFFOptimizeMoleculeConfs(molecule)
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    charge = Chem.GetFormalCharge(molecule)
    atoms = [
        Atoms(numbers, positions=c.GetPositions(), info={"charge": charge})
        for c in molecule.GetConformers()
    ]
    return atoms, Chem.GetAdjacencyMatrix(molecule).astype(bool)


def relax_fragment(atoms: Atoms, bonds: np.ndarray) -> Atoms:
    """Returns the last geometry of a short relaxation with unchanged bonds.

    In gas-phase zwitterions a proton is transferred during relaxation; they are stopped
    before.
    """
    check_bonds(atoms, bonds)
    last, relaxing = atoms.copy(), atoms.copy()
    relaxing.calc = calculator(METHODS["ions"], atoms.info["charge"])
    for _ in relax(relaxing, steps=30, fmax=0.1):
        try:
            check_bonds(relaxing, bonds)
        except Rejected:
            break
        last.positions = relaxing.positions
    return last


def combine(fragments: list[Atoms], gap: float, rng: np.random.Generator) -> Atoms:
    """Places fragments at random orientations, `gap` Å beyond contact."""
    combined = fragments[0].copy()
    for fragment in fragments[1:]:
        fragment = fragment.copy()
        fragment.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COP")
        fragment.positions -= fragment.positions.mean(0)
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        radii = vdw_radii[combined.numbers][:, None] + vdw_radii[fragment.numbers]
        start = combined.positions.mean(0)
        for shift in np.arange(0, 40, 0.05):
            positions = fragment.positions + start + shift * direction
            distances = get_distances(combined.positions, positions)[1]
            if (distances > CONTACT * radii + gap).all():
                break
        fragment.positions = positions
        combined += fragment
    return combined


def check_transfer(frame: Atoms, fragments: list[Atoms]) -> None:
    """Rejects frames in which a fragment does not have its formal charge."""
    bounds = np.cumsum([0, *map(len, fragments)])
    for fragment, start, stop in zip(fragments, bounds[:-1], bounds[1:], strict=True):
        total = frame.calc.results["charges"][start:stop].sum()
        formal = fragment.info["charge"]
        if abs(total - formal) > MAX_TRANSFER * max(1, abs(formal)):
            raise Rejected(f"charge transfer above {MAX_TRANSFER:g} of formal")


def ion_frames(name: str, smiles: str, seed: int) -> Frames:
    """Returns displaced, labeled frames of one species."""
    rng = np.random.default_rng([seed, zlib.crc32(smiles.encode())])
    parts = smiles.split(".")
    embedded = [conformers(s, 3, int(rng.integers(2**31))) for s in parts]
    relaxed = [[relax_fragment(a, bonds) for a in pool] for pool, bonds in embedded]
    frames, rejects = [], Counter()
    levels = zip(GAPS, (*DISPLACEMENTS, DISPLACEMENTS[0]), strict=True)
    for number, (gap, displacement) in enumerate(levels):
        if len(parts) == 1 and number == len(DISPLACEMENTS):
            break
        fragments = [pool[number % len(pool)].copy() for pool in relaxed]
        for fragment in fragments:
            fragment.positions += rng.normal(
                scale=displacement, size=(len(fragment), 3)
            )
        atoms = combine(fragments, gap, rng)
        # The dipole of a charged species depends on the origin, here the centroid.
        atoms.positions -= atoms.positions.mean(0)
        charge = sum(f.info["charge"] for f in fragments)
        try:
            check_contacts(atoms)
            for fragment, (_, bonds) in zip(fragments, embedded, strict=True):
                check_bonds(fragment, bonds)
            frame = label(atoms, METHODS["ions"], charge)
            check_transfer(frame, fragments)
        except Rejected as reason:
            rejects[str(reason)] += 1
            continue
        frame.info = frame_info(name, number, charge) | {"smiles": smiles}
        frames.append(frame)
    return frames, rejects


# --- frameworks -----------------------------------------------------------------

# No metals, since many have open shells.
LINKER_ELEMENTS = frozenset(
    ("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I")
)
OTHER_NODES = "N406 N493 N384"  # M3(CO2)6 with Mg3, Cd3 and CaZn2
OTHER_EDGES = "E14 E16 E23 E33 E53 E104 E160 E186"
STRAINS = (0.0, 0.005, 0.02, 0.01, 0.015)  # standard deviation of a strain component
FRAMEWORK_DISPLACEMENTS = (0.01, 0.015, 0.02, 0.03, 0.04)  # Å


def recipes() -> list[tuple[str, str]]:
    """Returns node and edge of each framework, all in the primitive cubic net."""
    package = importlib.util.find_spec("pormake").origin
    blocks = (Path(package).parent / "database/bbs").glob("E*.xyz")
    edges = sorted((path.stem for path in blocks), key=lambda name: int(name[1:]))
    others = itertools.product(OTHER_NODES.split(), OTHER_EDGES.split())
    return [*(("N16", edge) for edge in edges), *others]


def assemble(node: str, edge: str) -> tuple[Atoms, str]:
    """Returns the unrelaxed framework and the name of its linker."""
    warnings.simplefilter("ignore")  # pormake uses a removed option of SciPy
    # pormake logs to the working directory and to stderr.
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        import pormake

        database = pormake.Database()
        linker = database.get_bb(edge)
        organic = linker.atoms[linker.atoms.numbers > 0]
        if not set(organic.symbols) <= LINKER_ELEMENTS:
            raise Rejected("metal in the linker")
        try:
            framework = pormake.Builder().build_by_type(
                topology=database.get_topo("pcu"),
                node_bbs={0: database.get_bb(node)},
                edge_bbs={(0, 0): linker},
            )
        except Exception:  # pormake raises many types for incompatible blocks
            raise Rejected("not buildable") from None
    atoms = Atoms(
        framework.atoms.numbers,
        framework.atoms.positions,
        cell=framework.atoms.cell,
    )
    atoms.pbc = True
    return atoms, f"{edge} {organic.get_chemical_formula()}"


def heights(cell: np.ndarray) -> np.ndarray:
    """Returns the distances between opposite faces of a cell, Å."""
    return 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)


def check_framework(atoms: Atoms) -> None:
    """Rejects frameworks for which GFN1-xTB at the Gamma point is not suitable."""
    if not FRAMEWORK_ATOMS[0] <= len(atoms) <= FRAMEWORK_ATOMS[1]:
        raise Rejected("atom count outside {}-{}".format(*FRAMEWORK_ATOMS))
    if atoms.numbers.sum() % 2:
        raise Rejected("odd electron count")
    if heights(atoms.cell.array).min() < MIN_HEIGHT:
        raise Rejected(f"cell height below {MIN_HEIGHT:g} Å")
    check_contacts(atoms)


def check_connected(atoms: Atoms) -> None:
    """Rejects frameworks that are not connected."""
    radii = natural_cutoffs(atoms, mult=BROKEN_BOND)
    first, second = neighbor_list("ij", atoms, radii)
    graph = coo_array((np.ones(len(first)), (first, second)), 2 * [len(atoms)])
    if connected_components(graph)[0] > 1:
        raise Rejected("dissociated")


def relax_framework(atoms: Atoms) -> Atoms:
    """Relaxes positions, then positions and cell, with a limited number of steps."""
    atoms = atoms.copy()
    atoms.calc = calculator(METHODS["frameworks"], 0, accuracy=1.0)
    for _ in relax(atoms, steps=8, fmax=2.0):
        pass
    for _ in relax(FrechetCellFilter(atoms), steps=12, fmax=0.4):
        pass
    return atoms


def framework_frames(node: str, edge: str, seed: int) -> Frames:
    """Returns strained, displaced and labeled frames of one relaxed framework."""
    group = f"fw-e{int(edge[1:]):03d}-{node.lower()}"
    rng = np.random.default_rng([seed, zlib.crc32(group.encode())])
    atoms, linker = assemble(node, edge)
    check_framework(atoms)
    atoms = relax_framework(atoms)
    check_framework(atoms)
    check_connected(atoms)
    frames, rejects = [], Counter()
    levels = zip(STRAINS, FRAMEWORK_DISPLACEMENTS, strict=True)
    for number, (strain, displacement) in enumerate(levels):
        displaced = atoms.copy()
        noise = rng.normal(scale=strain, size=(3, 3))
        displaced.set_cell(
            displaced.cell @ (np.eye(3) + (noise + noise.T) / 2), scale_atoms=True
        )
        displaced.positions += rng.normal(scale=displacement, size=(len(displaced), 3))
        try:
            check_framework(displaced)
            frame = label(displaced, METHODS["frameworks"], 0)
        except Rejected as reason:
            rejects[str(reason)] += 1
            continue
        frame.info = frame_info(group, number, 0) | {"linker": linker, "node": node}
        frames.append(frame)
    return frames, rejects


# --- jobs -----------------------------------------------------------------------


def run_job(job: Job, path: Path, limit: int) -> None:
    """Runs one job in a child process.

    SIGALRM ends it after `limit` seconds, also in compiled code.
    """
    os.nice(10)
    signal.alarm(limit)
    try:
        frames, rejects = job()
    except Rejected as reason:
        frames, rejects = [], Counter({f"structure: {reason}": 1})
    if frames:
        ase.io.write(path.with_suffix(".extxyz"), frames, format="extxyz")
    path.with_suffix(".json").write_text(json.dumps(rejects))


def run_jobs(jobs: dict[str, Job], cache: Path, workers: int, limit: int) -> None:
    """Runs the jobs whose results are not cached, `workers` at a time."""
    pending = [key for key in jobs if not (cache / f"{key}.json").exists()]
    running: dict[int, tuple[str, mp.Process]] = {}
    context = mp.get_context("fork")
    tqdm.monitor_interval = 0  # avoids a thread in forked processes
    with tqdm(total=len(jobs), initial=len(jobs) - len(pending), unit="job") as bar:
        while pending or running:
            while pending and len(running) < workers:
                key = pending.pop(0)
                arguments = (jobs[key], cache / key, limit)
                process = context.Process(target=run_job, args=arguments)
                process.start()
                running[process.sentinel] = key, process
            for sentinel in wait(list(running)):
                key, process = running.pop(sentinel)
                process.join()
                if process.exitcode:
                    timed_out = process.exitcode == -signal.SIGALRM
                    reason = f"over {limit} s" if timed_out else "crashed"
                    report = json.dumps({f"structure: {reason}": 1})
                    (cache / f"{key}.json").write_text(report)
                bar.update()


# --- files ----------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """Options of a generator.

    Args:
        seed: random seed.
        workers: number of processes.
        limit: time limit of a job, s.
        first: number of jobs to run; 0 for all.
        out: folder of the data sets.
    """

    seed: int
    workers: int
    limit: int
    first: int
    out: Path


def read(path: Path) -> list[Atoms]:
    """Reads all frames of a compressed extxyz file, Å, eV, e."""
    # ASE seeks, which takes minutes in a compressed stream.
    text = io.StringIO(lzma.decompress(path.read_bytes()).decode())
    return ase.io.read(text, ":", format="extxyz")


def write(path: Path, frames: list[Atoms]) -> None:
    """Writes a temporary file, compares its content, and renames it."""
    temporary = path.with_name(f".{path.name}")
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    temporary.write_bytes(lzma.compress(text.getvalue().encode(), preset=9))
    for old, new in zip(frames, read(temporary), strict=True):
        if old.info != new.info or (old.positions != new.positions).any():
            raise RuntimeError(f"{old.info['id']} differs after writing and reading.")
    temporary.rename(path)


def collect(jobs: Iterable[str], cache: Path) -> Frames:
    """Returns the frames of all jobs, in order, and the counts of rejections."""
    frames, rejects = [], Counter()
    for key in jobs:
        rejects.update(json.loads((cache / f"{key}.json").read_text()))
        if (cache / f"{key}.extxyz").exists():
            frames += ase.io.read(cache / f"{key}.extxyz", ":", format="extxyz")
    return frames, rejects


def generate(name: str, jobs: dict[str, Job], options: Options) -> None:
    """Runs the jobs, writes the data set, its provenance and its statistics."""
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    cache = Path(tempfile.gettempdir()) / f"make_dataset-{digest}-{options.seed}"
    cache.mkdir(exist_ok=True)
    if options.first:
        jobs = dict(itertools.islice(jobs.items(), options.first))
    run_jobs(jobs, cache, options.workers, options.limit)
    frames, rejects = collect(jobs, cache)
    options.out.mkdir(parents=True, exist_ok=True)
    write(options.out / f"{name}.extxyz.xz", frames)
    path = options.out / "provenance.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    packages = ("tblite", "pormake", "rdkit", "ase", "numpy")
    record[name] = {
        "command": f"uv run tools/make_dataset.py {name} --seed {options.seed}",
        "method": METHODS[name],
        "versions": {p: importlib.metadata.version(p) for p in packages},
        "structures tried": len(jobs),
        "rejected": dict(rejects.most_common()),
    }
    path.write_text(json.dumps(record, indent=2) + "\n")
    rewrite_statistics(options.out)


# --- statistics -----------------------------------------------------------------

BEGIN, END = "<!-- statistics -->", "<!-- end of statistics -->"


def composition_floor(frames: list[Atoms], with_charge: bool = False) -> float:
    """Returns the RMSE of a linear fit on composition (and charge), meV/atom."""
    elements = sorted({int(z) for frame in frames for z in frame.numbers})
    counts = np.array([[(f.numbers == z).sum() for z in elements] for f in frames])
    if with_charge:
        charges = np.array([f.info["total_charge"] for f in frames])
        counts = np.column_stack([counts, charges, charges**2])
    atoms = np.array([len(f) for f in frames])
    energies = np.array([f.get_potential_energy() for f in frames])
    rows, target = counts / atoms[:, None], energies / atoms
    fit = np.linalg.lstsq(rows, target)[0]
    return 1000 * float(np.sqrt(np.mean((target - rows @ fit) ** 2)))


def group_spread(frames: list[Atoms]) -> float:
    """Returns the standard deviation of the energy within groups, meV/atom."""
    groups: dict[str, list[float]] = {}
    for frame in frames:
        energy = frame.get_potential_energy() / len(frame)
        groups.setdefault(frame.info["group"], []).append(energy)
    return 1000 * float(np.sqrt(np.mean([np.var(e) for e in groups.values()])))


def statistics(frames: list[Atoms]) -> dict[str, str]:
    """Returns the statistics of a data set, as rows of a table."""
    sizes = [len(f) for f in frames]
    forces = np.concatenate([f.get_forces() for f in frames])
    charges = np.concatenate([f.get_charges() for f in frames])
    largest = np.linalg.norm(forces, axis=1).max()
    elements = Counter(s for f in frames for s in f.symbols)
    totals = Counter(f.info["total_charge"] for f in frames)
    rows = {
        "frames": f"{len(frames)}",
        "groups": f"{len({f.info['group'] for f in frames})}",
        "atoms, all frames": f"{sum(sizes)}",
        "atoms per frame, min / median / max": f"{min(sizes)} / {np.median(sizes):g} / "
        f"{max(sizes)}",
        "elements (atoms)": ", ".join(
            f"{s} {elements[s]}" for s in chemical_symbols if s in elements
        ),
        "total charge (frames)": ", ".join(
            f"{f'{q:+d}' if q else '0'}: {totals[q]}" for q in sorted(totals)
        ),
        "energy within a group, standard deviation": f"{group_spread(frames):.1f} "
        "meV/atom",
        "composition fit, RMSE": f"{composition_floor(frames):.1f} meV/atom",
        "force components, RMS": f"{np.sqrt(np.mean(forces**2)):.3f} eV/Å",
        "largest force on an atom": f"{largest:.2f} eV/Å",
        "charges, min / RMS / max": f"{charges.min():.2f} / "
        f"{np.sqrt(np.mean(charges**2)):.2f} / {charges.max():.2f} e",
    }
    if len(totals) > 1:
        floor = composition_floor(frames, with_charge=True)
        rows["fit of composition, charge and charge², RMSE"] = f"{floor:.1f} meV/atom"
    if frames[0].pbc.any():
        stress = np.array([f.get_stress() for f in frames])
        lowest = min(heights(f.cell.array).min() for f in frames)
        rows["stress components, RMS"] = f"{np.sqrt(np.mean(stress**2)):.5f} eV/Å³"
        rows["smallest cell height"] = f"{lowest:.2f} Å"
    return rows


def rewrite_statistics(folder: Path) -> None:
    """Replaces the marked part of the README by statistics of the data sets."""
    lines = [BEGIN]
    for name, record in json.loads((folder / "provenance.json").read_text()).items():
        rows = statistics(read(folder / f"{name}.extxyz.xz"))
        versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
        rows |= {
            "command": f"`{record['command']}`",
            "versions": versions,
            "structures tried": str(record["structures tried"]),
        }
        lines += ["", f"### {name}, {record['method']}", "", "| | |", "|---|---|"]
        lines += [f"| {key} | {value} |" for key, value in rows.items()]
        lines += ["", "| reason for rejection | structures or frames |", "|---|---|"]
        lines += [f"| {reason} | {n} |" for reason, n in record["rejected"].items()]
    readme = folder / "README.md"
    text = readme.read_text() if readme.exists() else f"{BEGIN}\n{END}\n"
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    readme.write_text(before + "\n".join(lines) + f"\n\n{END}" + after)


# --- checks ---------------------------------------------------------------------

# Largest differences to stored labels, allowing for other processors.
TOLERANCES = {"energy": 1e-4, "forces": 1e-3, "stress": 1e-5, "charges": 1e-3}
STEP = 0.01  # Å, along a unit vector of all coordinates
SLOPE_TOLERANCE = 5e-3  # eV/Å


class CheckFailed(Exception):
    """The committed data fail a check."""


def check_labels(frame: Atoms, method: str) -> dict[str, float]:
    """Recomputes a frame; returns the largest difference to each stored label."""
    recomputed = label(frame, method, frame.info["total_charge"]).calc.results
    differences = {}
    for name, tolerance in TOLERANCES.items():
        if name in recomputed:
            stored = frame.calc.results[name]
            differences[name] = float(np.abs(recomputed[name] - stored).max())
            if differences[name] > tolerance:
                raise CheckFailed(
                    f"{frame.info['id']}: recomputed {name} differ by "
                    f"{differences[name]:.2g}, more than {tolerance:g}."
                )
    return differences


def check_slope(frame: Atoms, method: str, rng: np.random.Generator) -> float:
    """Compares a central difference of the energy with the stored forces, eV/Å."""
    direction = rng.normal(size=(len(frame), 3))
    direction /= np.linalg.norm(direction)
    energies = []
    for sign in (1, -1):
        displaced = Atoms(
            frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc
        )
        displaced.positions += sign * STEP * direction
        displaced.calc = calculator(method, frame.info["total_charge"])
        energies.append(displaced.get_potential_energy())
    slope = (energies[0] - energies[1]) / (2 * STEP)
    difference = abs(slope + float((frame.get_forces() * direction).sum()))
    if difference > SLOPE_TOLERANCE:
        raise CheckFailed(
            f"{frame.info['id']}: the derivative of the energy differs from the stored "
            f"forces by {difference:.2g} eV/Å, more than {SLOPE_TOLERANCE:g}."
        )
    return difference


def check_consistency(frames: list[Atoms]) -> None:
    """Checks ids, charges, forces, electrons and cells of all frames."""
    if len({f.info["id"] for f in frames}) < len(frames):
        raise CheckFailed("Two frames have the same id.")
    for frame in frames:
        name, total = frame.info["id"], frame.info["total_charge"]
        if abs(frame.get_charges().sum() - total) > 1e-5 * len(frame):
            raise CheckFailed(f"{name}: the charges do not sum to {total} e.")
        if np.linalg.norm(frame.get_forces(), axis=1).max() > MAX_FORCE:
            raise CheckFailed(f"{name}: a force exceeds {MAX_FORCE:g} eV/Å.")
        if (frame.numbers.sum() - total) % 2:
            raise CheckFailed(f"{name}: the number of electrons is odd.")
        if frame.pbc.any() and heights(frame.cell.array).min() < MIN_HEIGHT:
            raise CheckFailed(f"{name}: a cell height is below {MIN_HEIGHT:g} Å.")


# --- command line ---------------------------------------------------------------

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
Seed = Annotated[int, typer.Option(help="Seed of conformers and displacements.")]
Workers = Annotated[int, typer.Option(help="Number of processes, one thread each.")]
Limit = Annotated[int, typer.Option(help="Time limit of a job, s.")]
First = Annotated[int, typer.Option(help="Number of jobs to run; 0 for all.")]
Folder = Annotated[Path, typer.Option(help="Folder of the data sets.")]


@app.command()
def ions(
    seed: Seed = 0,
    workers: Workers = 2,
    limit: Limit = 120,
    first: First = 0,
    out: Folder = DATA,
) -> None:
    """Generates molecules and ions from SMILES, open boundaries, GFN2-xTB."""
    jobs = {}
    for number, smiles in enumerate(species()):
        name = f"ion-{number:04d}"
        jobs[name] = ft.partial(ion_frames, name, smiles, seed)
    generate("ions", jobs, Options(seed, workers, limit, first, out.resolve()))


@app.command()
def frameworks(
    seed: Seed = 0,
    workers: Workers = 2,
    limit: Limit = 400,
    first: First = 0,
    out: Folder = DATA,
) -> None:
    """Generates metal-organic frameworks with pormake, periodic, GFN1-xTB."""
    jobs = {
        f"{node}-{edge}": ft.partial(framework_frames, node, edge, seed)
        for node, edge in recipes()
    }
    generate("frameworks", jobs, Options(seed, workers, limit, first, out.resolve()))


@app.command()
def check(
    count: Annotated[int, typer.Option(help="Frames per data set to recompute.")] = 3,
    out: Folder = DATA,
) -> None:
    """Recomputes a few frames and compares them with the stored labels."""
    for name, method in METHODS.items():
        frames = read(out / f"{name}.extxyz.xz")
        indices = np.linspace(0, len(frames) - 1, count).astype(int)
        selected = [frames[i] for i in indices]
        try:
            check_consistency(frames)
            differences = [check_labels(frame, method) for frame in selected]
            slope = check_slope(selected[0], method, np.random.default_rng(0))
        except (CheckFailed, Rejected) as failure:
            sys.exit(f"{name}: {failure}")
        worst = {key: max(d[key] for d in differences) for key in differences[0]}
        report = ", ".join(f"{key} {value:.1e}" for key, value in worst.items())
        typer.echo(f"{name}: {count} of {len(frames)} frames recomputed: {report}; ")
        typer.echo(f"derivative of the energy against the forces: {slope:.1e} eV/Å")


@app.command()
def readme(out: Folder = DATA) -> None:
    """Rewrites the statistics in the README from the files."""
    rewrite_statistics(out)


if __name__ == "__main__":
    app()
