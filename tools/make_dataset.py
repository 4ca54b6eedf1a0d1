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
"""Builds the two data sets bundled with `bench` and labels them with xTB.

`uv run tools/make_dataset.py VERB`, where `ions` writes molecules and ions (GFN2-xTB),
`frameworks` metal-organic frameworks (GFN1-xTB), `check` recomputes a few committed
frames and `readme` rewrites the statistics in the README.

Units: Å, eV, e; forces eV/Å; stress eV/Å³ in ASE's sign and Voigt order; dipole e Å.
Every structure is a job in a process of its own, with a time limit. Finished jobs stay
in a cache that belongs to this very script, so an interrupted run goes on where it
stopped. Structures and frames are functions of the seed alone.
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
# Decimals kept of each label, in the units above.
DECIMALS = {"energy": 7, "forces": 5, "stress": 8, "charges": 5, "dipole": 5}
POSITION_DECIMALS = 5

MAX_FORCE = 15.0  # eV/Å, on any atom of a labelled frame
MIN_CONTACT = 0.65  # of the sum of two covalent radii
BROKEN_BOND = 1.35  # of the sum of two covalent radii
NEW_BOND = 1.25  # of the same sum, for two atoms the SMILES does not bond
MAX_TRANSFER = 0.5  # of a fragment's formal charge, or e if that is 0
MIN_HEIGHT = 11.0  # Å between opposite faces of a cell
FRAMEWORK_ATOMS = (30, 84)  # a larger one costs minutes and adds little variety
ION_ATOMS = (5, 40)

Frames = tuple[list[Atoms], Counter]
Job = Callable[[], Frames]


class Rejected(Exception):
    """A structure or frame fails a screen; the message is the reason to count."""


# --- labels ---------------------------------------------------------------------


def calculator(method: str, charge: int, accuracy: float = 0.1) -> Any:
    """A tblite calculator for closed shells at one thread; labels use the default."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read when tblite's library is loaded
    from tblite.ase import TBLite

    return TBLite(
        method=method, charge=charge, multiplicity=1, accuracy=accuracy, verbosity=0
    )


def label(atoms: Atoms, method: str, charge: int) -> Atoms:
    """The rounded geometry with the labels that belong to it.

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
    meaningless = "dipole" if frame.pbc.any() else "stress"
    results = {
        name: np.round(frame.calc.results[name], decimals)
        for name, decimals in DECIMALS.items()
        if name != meaningless
    }
    frame.calc = SinglePointCalculator(frame, **results)
    if np.linalg.norm(results["forces"], axis=1).max() > MAX_FORCE:
        raise Rejected(f"force above {MAX_FORCE:g} eV/Å")
    return frame


def facts(group: str, number: int, charge: int) -> dict[str, Any]:
    """What every frame says of itself."""
    name = f"{group}-{number}"
    return {"id": name, "group": group, "total_charge": charge, "spin": 1}


def relax(atoms: Atoms | FrechetCellFilter, steps: int, fmax: float) -> Iterator[None]:
    """Relaxes positions in place, one step per item; ends at `fmax` (eV/Å)."""
    try:
        for _ in LBFGS(atoms, logfile=None, maxstep=0.1).irun(fmax=fmax, steps=steps):
            yield
    except CalculationFailed:
        raise Rejected("SCF not converged") from None


def check_contacts(atoms: Atoms) -> None:
    """Refuses two atoms closer than `MIN_CONTACT` of their covalent radii."""
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
TOUCHING = 0.7  # of the sum of two van der Waals radii: 1.8 Å for H...O
GAPS = (0.0, 0.4, 1.0, 2.2, 4.5)  # Å between fragments, beyond touching
SHAKES = (0.01, 0.025, 0.04, 0.055)  # Å, standard deviation of displaced coordinates


def species() -> list[str]:
    """Canonical SMILES of every species, in a fixed order.

    Functional groups in all their protonation states on shared scaffolds, so that many
    species differ from another one only by a proton; then pairs and small clusters.
    """
    from rdkit import Chem

    single = itertools.product(SCAFFOLDS.split(), GROUPS.split())
    acids = itertools.product(ENDS.split(), SPACERS.split(), ACIDS.split())
    amines = itertools.product(ENDS.split()[:3], CHAINS.split(), AMINES.split())
    pairs = (".".join(p) for p in itertools.product(CATIONS.split(), ANIONS.split()))
    every = map("".join, itertools.chain(single, acids, amines))
    found = {}
    for smiles in [*every, *OTHERS.split(), *pairs, *COMPLEXES.split()]:
        molecule = Chem.MolFromSmiles(smiles)
        atoms = Chem.AddHs(molecule).GetNumAtoms()
        charge = Chem.GetFormalCharge(molecule)
        if ION_ATOMS[0] <= atoms <= ION_ATOMS[1] and abs(charge) <= 2:
            found[Chem.MolToSmiles(molecule)] = None
    return list(found)


def check_bonds(atoms: Atoms, bonds: np.ndarray) -> None:
    """Refuses a fragment whose atoms are not bonded as its SMILES says."""
    radii = covalent_radii[atoms.numbers]
    ratio = atoms.get_all_distances() / (radii[:, None] + radii)
    if (ratio[bonds] > BROKEN_BOND).any():
        raise Rejected("bond broken")
    if (ratio[~bonds & ~np.eye(len(atoms), dtype=bool)] < NEW_BOND).any():
        raise Rejected("bond formed")


def conformers(smiles: str, count: int, seed: int) -> tuple[list[Atoms], np.ndarray]:
    """Force-field conformers of one fragment, and its bonds [atoms, atoms]."""
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
    found = [
        Atoms(numbers, positions=c.GetPositions(), info={"charge": charge})
        for c in molecule.GetConformers()
    ]
    return found, Chem.GetAdjacencyMatrix(molecule).astype(bool)


def relax_fragment(atoms: Atoms, bonds: np.ndarray) -> Atoms:
    """The last geometry of a short relaxation that still has the right bonds.

    Gas-phase zwitterions pass a proton on when relaxed; they are stopped before.
    """
    check_bonds(atoms, bonds)
    last, moving = atoms.copy(), atoms.copy()
    moving.calc = calculator(METHODS["ions"], atoms.info["charge"])
    for _ in relax(moving, steps=30, fmax=0.1):
        try:
            check_bonds(moving, bonds)
        except Rejected:
            break
        last.positions = moving.positions
    return last


def place(fragments: list[Atoms], gap: float, rng: np.random.Generator) -> Atoms:
    """Fragments put together at random angles, `gap` Å beyond touching."""
    whole = fragments[0].copy()
    for fragment in fragments[1:]:
        part = fragment.copy()
        part.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COP")
        part.positions -= part.positions.mean(0)
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        radii = vdw_radii[whole.numbers][:, None] + vdw_radii[part.numbers]
        start = whole.positions.mean(0)
        for shift in np.arange(0, 40, 0.05):
            moved = part.positions + start + shift * direction
            distances = get_distances(whole.positions, moved)[1]
            if (distances > TOUCHING * radii + gap).all():
                break
        part.positions = moved
        whole += part
    return whole


def check_transfer(frame: Atoms, fragments: list[Atoms]) -> None:
    """Refuses fragments whose charge is not the formal one any more."""
    bounds = np.cumsum([0, *map(len, fragments)])
    for fragment, start, stop in zip(fragments, bounds[:-1], bounds[1:], strict=True):
        total = frame.calc.results["charges"][start:stop].sum()
        formal = fragment.info["charge"]
        if abs(total - formal) > MAX_TRANSFER * max(1, abs(formal)):
            raise Rejected(f"charge transfer above {MAX_TRANSFER:g} of formal")


def ion_frames(name: str, smiles: str, seed: int) -> Frames:
    """Displaced, labelled frames of one species."""
    rng = np.random.default_rng([seed, zlib.crc32(smiles.encode())])
    names = smiles.split(".")
    made = [conformers(s, 3, int(rng.integers(2**31))) for s in names]
    pools = [[relax_fragment(a, bonds) for a in pool] for pool, bonds in made]
    frames, rejects = [], Counter()
    levels = zip(GAPS, (*SHAKES, SHAKES[0]), strict=True)
    for number, (gap, shake) in enumerate(levels):
        if len(names) == 1 and number == len(SHAKES):
            break
        fragments = [pool[number % len(pool)].copy() for pool in pools]
        for fragment in fragments:
            fragment.positions += rng.normal(scale=shake, size=(len(fragment), 3))
        atoms = place(fragments, gap, rng)
        # A charged species' dipole depends on the origin: here the centroid.
        atoms.positions -= atoms.positions.mean(0)
        charge = sum(f.info["charge"] for f in fragments)
        try:
            check_contacts(atoms)
            for fragment, (_, bonds) in zip(fragments, made, strict=True):
                check_bonds(fragment, bonds)
            frame = label(atoms, METHODS["ions"], charge)
            check_transfer(frame, fragments)
        except Rejected as reason:
            rejects[str(reason)] += 1
            continue
        frame.info = facts(name, number, charge) | {"smiles": smiles}
        frames.append(frame)
    return frames, rejects


# --- frameworks -----------------------------------------------------------------

# No metals: many are open shells.
LINKER_ELEMENTS = frozenset(
    ("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I")
)
OTHER_NODES = "N406 N493 N384"  # M3(CO2)6 with Mg3, Cd3 and CaZn2
OTHER_EDGES = "E14 E16 E23 E33 E53 E104 E160 E186"
STRAINS = (0.0, 0.005, 0.02, 0.01, 0.015)  # standard deviation of a strain component
FRAMEWORK_SHAKES = (0.01, 0.015, 0.02, 0.03, 0.04)  # Å, as `SHAKES`


def recipes() -> list[tuple[str, str]]:
    """Node and edge of every framework to try, all in the primitive cubic net."""
    package = importlib.util.find_spec("pormake").origin
    blocks = (Path(package).parent / "database/bbs").glob("E*.xyz")
    edges = sorted((path.stem for path in blocks), key=lambda name: int(name[1:]))
    others = itertools.product(OTHER_NODES.split(), OTHER_EDGES.split())
    return [*(("N16", edge) for edge in edges), *others]


def assemble(node: str, edge: str) -> tuple[Atoms, str]:
    """The unrelaxed framework and its linker's name."""
    warnings.simplefilter("ignore")  # it calls SciPy with an option that is gone
    # It logs into the working directory and to the terminal.
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
            made = pormake.Builder().build_by_type(
                topology=database.get_topo("pcu"),
                node_bbs={0: database.get_bb(node)},
                edge_bbs={(0, 0): linker},
            )
        except Exception:  # whatever it raises, this node and edge do not fit
            raise Rejected("not buildable") from None
    atoms = Atoms(made.atoms.numbers, made.atoms.positions, cell=made.atoms.cell)
    atoms.pbc = True
    return atoms, f"{edge} {organic.get_chemical_formula()}"


def heights(cell: np.ndarray) -> np.ndarray:
    """Distances between opposite faces of a cell, Å."""
    return 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)


def check_framework(atoms: Atoms) -> None:
    """Refuses what GFN1-xTB at the Gamma point should not be asked to label."""
    if not FRAMEWORK_ATOMS[0] <= len(atoms) <= FRAMEWORK_ATOMS[1]:
        raise Rejected("atom count outside {}-{}".format(*FRAMEWORK_ATOMS))
    if atoms.numbers.sum() % 2:
        raise Rejected("odd electron count")
    if heights(atoms.cell.array).min() < MIN_HEIGHT:
        raise Rejected(f"cell height below {MIN_HEIGHT:g} Å")
    check_contacts(atoms)


def check_whole(atoms: Atoms) -> None:
    """Refuses a framework that is in pieces, or has an atom on its own."""
    radii = natural_cutoffs(atoms, mult=BROKEN_BOND)
    first, second = neighbor_list("ij", atoms, radii)
    graph = coo_array((np.ones(len(first)), (first, second)), 2 * [len(atoms)])
    if connected_components(graph)[0] > 1:
        raise Rejected("dissociated")


def relax_framework(atoms: Atoms) -> Atoms:
    """Positions first, then positions and cell; bounded, not converged."""
    atoms = atoms.copy()
    atoms.calc = calculator(METHODS["frameworks"], 0, accuracy=1.0)
    for _ in relax(atoms, steps=8, fmax=2.0):
        pass
    for _ in relax(FrechetCellFilter(atoms), steps=12, fmax=0.4):
        pass
    return atoms


def framework_frames(node: str, edge: str, seed: int) -> Frames:
    """Strained, displaced and labelled frames of one relaxed framework."""
    group = f"fw-e{int(edge[1:]):03d}-{node.lower()}"
    rng = np.random.default_rng([seed, zlib.crc32(group.encode())])
    atoms, linker = assemble(node, edge)
    check_framework(atoms)
    atoms = relax_framework(atoms)
    check_framework(atoms)
    check_whole(atoms)
    frames, rejects = [], Counter()
    levels = zip(STRAINS, FRAMEWORK_SHAKES, strict=True)
    for number, (strain, shake) in enumerate(levels):
        moved = atoms.copy()
        noise = rng.normal(scale=strain, size=(3, 3))
        moved.set_cell(
            moved.cell @ (np.eye(3) + (noise + noise.T) / 2), scale_atoms=True
        )
        moved.positions += rng.normal(scale=shake, size=(len(moved), 3))
        try:
            check_framework(moved)
            frame = label(moved, METHODS["frameworks"], 0)
        except Rejected as reason:
            rejects[str(reason)] += 1
            continue
        frame.info = facts(group, number, 0) | {"linker": linker, "node": node}
        frames.append(frame)
    return frames, rejects


# --- jobs -----------------------------------------------------------------------


def work(job: Job, path: Path, limit: int) -> None:
    """Runs one job in a child process; the alarm ends it even inside compiled code."""
    os.nice(10)
    signal.alarm(limit)
    try:
        frames, rejects = job()
    except Rejected as reason:
        frames, rejects = [], Counter({f"structure: {reason}": 1})
    if frames:
        ase.io.write(path.with_suffix(".extxyz"), frames, format="extxyz")
    path.with_suffix(".json").write_text(json.dumps(rejects))


def run(jobs: dict[str, Job], cache: Path, workers: int, limit: int) -> None:
    """Runs the jobs that the cache does not hold, `workers` at a time."""
    todo = [key for key in jobs if not (cache / f"{key}.json").exists()]
    running: dict[int, tuple[str, mp.Process]] = {}
    context = mp.get_context("fork")
    tqdm.monitor_interval = 0  # its thread would be forked along
    with tqdm(total=len(jobs), initial=len(jobs) - len(todo), unit="job") as bar:
        while todo or running:
            while todo and len(running) < workers:
                key = todo.pop(0)
                arguments = (jobs[key], cache / key, limit)
                process = context.Process(target=work, args=arguments)
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
    """How to run a generator: processes, seconds a job, jobs, and where to."""

    seed: int
    workers: int
    limit: int
    first: int
    out: Path


def read(path: Path) -> list[Atoms]:
    """All frames of a compressed extxyz file, Å, eV, e."""
    # ASE seeks, which takes minutes inside a compressed stream.
    text = io.StringIO(lzma.decompress(path.read_bytes()).decode())
    return ase.io.read(text, ":", format="extxyz")


def write(path: Path, frames: list[Atoms]) -> None:
    """Writes beside the file, reads back, compares, and only then renames."""
    temporary = path.with_name(f".{path.name}")
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    temporary.write_bytes(lzma.compress(text.getvalue().encode(), preset=9))
    for old, new in zip(frames, read(temporary), strict=True):
        if old.info != new.info or (old.positions != new.positions).any():
            raise RuntimeError(f"{old.info['id']} does not survive being written.")
    temporary.rename(path)


def collect(jobs: Iterable[str], cache: Path) -> Frames:
    """Frames and counted rejections of all finished jobs, in order."""
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
    run(jobs, cache, options.workers, options.limit)
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
    """RMSE of the best energy per element (and per charge), meV/atom."""
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
    """Standard deviation of the energy per atom within a group, meV/atom."""
    groups: dict[str, list[float]] = {}
    for frame in frames:
        energy = frame.get_potential_energy() / len(frame)
        groups.setdefault(frame.info["group"], []).append(energy)
    return 1000 * float(np.sqrt(np.mean([np.var(e) for e in groups.values()])))


def statistics(frames: list[Atoms]) -> dict[str, str]:
    """What a reader wants to know of a data set, as rows of a table."""
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
        "atoms a frame, min / median / max": f"{min(sizes)} / {np.median(sizes):g} / "
        f"{max(sizes)}",
        "elements (atoms)": ", ".join(
            f"{s} {elements[s]}" for s in chemical_symbols if s in elements
        ),
        "total charge (frames)": ", ".join(
            f"{q:+d}: {totals[q]}" for q in sorted(totals)
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
    """Replaces the marked part of the README by tables of what the folder holds."""
    lines = [BEGIN]
    for name, record in json.loads((folder / "provenance.json").read_text()).items():
        rows = statistics(read(folder / f"{name}.extxyz.xz"))
        versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
        rows |= {
            "made by": f"`{record['command']}`",
            "versions": versions,
            "structures tried": str(record["structures tried"]),
        }
        lines += ["", f"### {name}, {record['method']}", "", "| | |", "|---|---|"]
        lines += [f"| {key} | {value} |" for key, value in rows.items()]
        lines += ["", "| rejected because | structures or frames |", "|---|---|"]
        lines += [f"| {why} | {count} |" for why, count in record["rejected"].items()]
    readme = folder / "README.md"
    text = readme.read_text() if readme.exists() else f"{BEGIN}\n{END}\n"
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    readme.write_text(before + "\n".join(lines) + f"\n\n{END}" + after)


# --- checks ---------------------------------------------------------------------

# Largest difference to a stored label that other processors may make.
TOLERANCES = {"energy": 1e-4, "forces": 1e-3, "stress": 1e-5, "charges": 1e-3}
STEP = 0.01  # Å, along a unit vector of all coordinates
SLOPE_TOLERANCE = 5e-3  # eV/Å


class CheckFailed(Exception):
    """A sentence on the committed data that is not true."""


def check_labels(frame: Atoms, method: str) -> dict[str, float]:
    """Recomputes a frame; the largest difference to each stored label."""
    fresh = label(frame, method, frame.info["total_charge"]).calc.results
    differences = {}
    for name, tolerance in TOLERANCES.items():
        if name in fresh:
            stored = frame.calc.results[name]
            differences[name] = float(np.abs(fresh[name] - stored).max())
            if differences[name] > tolerance:
                raise CheckFailed(
                    f"{frame.info['id']}: recomputed {name} differ by "
                    f"{differences[name]:.2g}, more than {tolerance:g}."
                )
    return differences


def check_slope(frame: Atoms, method: str, rng: np.random.Generator) -> float:
    """Central difference of the energy against the stored forces, eV/Å."""
    direction = rng.normal(size=(len(frame), 3))
    direction /= np.linalg.norm(direction)
    energies = []
    for sign in (1, -1):
        moved = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        moved.positions += sign * STEP * direction
        moved.calc = calculator(method, frame.info["total_charge"])
        energies.append(moved.get_potential_energy())
    slope = (energies[0] - energies[1]) / (2 * STEP)
    difference = abs(slope + float((frame.get_forces() * direction).sum()))
    if difference > SLOPE_TOLERANCE:
        raise CheckFailed(
            f"{frame.info['id']}: the energy's slope misses the stored forces by "
            f"{difference:.2g} eV/Å, more than {SLOPE_TOLERANCE:g}."
        )
    return difference


def check_facts(frames: list[Atoms]) -> None:
    """What must hold of every frame without computing anything."""
    if len({f.info["id"] for f in frames}) < len(frames):
        raise CheckFailed("Two frames share an id.")
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
Workers = Annotated[int, typer.Option(help="Processes at a time, one thread each.")]
Limit = Annotated[int, typer.Option(help="Seconds after which a job is given up.")]
First = Annotated[int, typer.Option(help="Only so many jobs; 0 means all.")]
Folder = Annotated[Path, typer.Option(help="Folder of the data sets.")]


@app.command()
def ions(
    seed: Seed = 0,
    workers: Workers = 2,
    limit: Limit = 120,
    first: First = 0,
    out: Folder = DATA,
) -> None:
    """Molecules and ions from SMILES, open boundaries, GFN2-xTB."""
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
    """Metal-organic frameworks from pormake, periodic, GFN1-xTB."""
    jobs = {
        f"{node}-{edge}": ft.partial(framework_frames, node, edge, seed)
        for node, edge in recipes()
    }
    generate("frameworks", jobs, Options(seed, workers, limit, first, out.resolve()))


@app.command()
def check(
    count: Annotated[int, typer.Option(help="Frames of each set to recompute.")] = 3,
    out: Folder = DATA,
) -> None:
    """Recomputes a few frames and compares them with the stored labels."""
    for name, method in METHODS.items():
        frames = read(out / f"{name}.extxyz.xz")
        picked = [frames[i] for i in np.linspace(0, len(frames) - 1, count).astype(int)]
        try:
            check_facts(frames)
            found = [check_labels(frame, method) for frame in picked]
            slope = check_slope(picked[0], method, np.random.default_rng(0))
        except (CheckFailed, Rejected) as failure:
            sys.exit(f"{name}: {failure}")
        worst = {key: max(f[key] for f in found) for key in found[0]}
        report = ", ".join(f"{key} {value:.1e}" for key, value in worst.items())
        typer.echo(f"{name}: {count} of {len(frames)} frames recomputed: {report}; ")
        typer.echo(f"slope of the energy against the forces: {slope:.1e} eV/Å")


@app.command()
def readme(out: Folder = DATA) -> None:
    """Rewrites the statistics in the README from the files."""
    rewrite_statistics(out)


if __name__ == "__main__":
    app()
