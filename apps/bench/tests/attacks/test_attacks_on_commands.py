"""Attacks with invalid command lines, settings and output folders."""

import pytest

pytestmark = pytest.mark.slow

ATTACKS = []
FIRST_FRAME = ("-o", "structures.frames=0")


def attacks(kind, lines):
    """Adds command lines of one kind; `{name}` is a path of the fixture `bases`."""
    for text in lines:
        words = text if isinstance(text, tuple) else tuple(text.split())
        program = words[0]
        given = words if program in ("bench", "chemsplit") else ("bench", *words)
        ATTACKS.append((kind, " ".join(words)[:80], given))


attacks(
    "overrides",
    [
        ("run", "{grid}", "-o", text)
        for text in (
            "seeds=[0",
            "seeds=" + 3000 * "[",
            "seeds={a: [}",
            "seeds=*a",
            "seeds=&a [*a]",
            "seeds=!!python/object:os.system ls",
            'seeds=!!int ""',
            "seeds=2001-99-99",
            "seeds=[]",
            "seeds=[-1]",
            "seeds=[0, 0]",
            "splits=[nonsense]",
            "long_range=[les+les]",
            "train.epochs=many",
            "train.epochs=0",
            "train.epochs=.inf",
            "train.nonsense=1",
            "train=1",
            "train.loss.energy.deeper=1",
            "=1",
            "epochs",
            "..=1",
            "model.cutoff=-1",
            "model.cutoff=.nan",
            "model.mace.channels=1e9",
            "dataset=",
            "dataset=nothere.xyz",
            "dataset=nowhere/*.xyz",
            f"dataset={300 * 'x'}.xyz",
            "dataset=[ions]",
        )
    ],
)
attacks(
    "options of md",
    [
        ("md", "{run}", *more.split())
        for more in (
            "--structure nothere.xyz",
            "--structure {xyz}",
            "--structure {xyz} -o structures.frames=12",
            "--structure {xyz} -o structures.frames=-1",
            "--structure {xyz} -o structures.frames=some",
            "-o structures.frames=1",
            "--structure {periodic} -o structures.frames=1.5",
            "--structure {grid}",
            "--structure {model}",
            "--mode long",
            "--mode",
            "-o simulation.thermostat=ice",
            "-o simulation.timestep=0",
            "-o simulation.timestep=.nan",
            "--temperature inf",
            "--temperature hot",
            "-o simulation.ramp_to=1",
            "-o simulation.pressure=.nan",
            "-o simulation.replicas=0",
            "-o simulation.replicas=999999999",
            "-o simulation.seed=-1",
            "-o structures.spin=-1",
            "-o structures.total_charge=.inf",
            "-o reference=nothere.xyz",
            "-o reference={grid}",
            "-o require_charges=true",
            "--jobs 0",
            "--nonsense",
            "-o simulation=dev",
            "-o models=[]",
            "{grid}",
        )
    ],
)
attacks(
    "options of prepare",
    [
        ("prepare", *more.split())
        for more in (
            "{xyz}",
            "--out o",
            "nothere.xyz --out o",
            "nowhere/*.xyz --out o",
            "{xyz} --out o -o read.format=nonsense",
            "{xyz} --out o -o read.format=cif",
            "{xyz} --out o -o filters.recipe=nonsense",
            "{xyz} --out o --shard 0/2",
            "{xyz} --out o --shard 3/2",
            "{xyz} --out o --shard two",
            "{xyz} --out o --shard 1/2/3",
            "{xyz} --out o --workers 0",
            "{xyz} --out o -o keys.energy=nothere",
            "{xyz} --out o -o keys.charges=nothere",
            "{xyz} --out o -o read.energy_unit=furlong",
            "{xyz} --out o -o read.length_unit=furlong",
            "{xyz} --out o -o read.dipole_origin=moon",
            "{xyz} --out o -o filters.require=[nonsense]",
            "{xyz} --out o -o filters.without=[nonsense]",
            "{xyz} --out o -o filters.require=[stress]",
            "{xyz} --out o -o filters.min_atoms=99",
            "{xyz} --out o -o filters.max_atoms=1",
            "{xyz} --out o -o filters.total_charges=[7]",
            "{xyz} --out o -o filters.sample=0",
            "{xyz} --out o -o atomic_energies=nothere.yaml",
            "{xyz} --out o -o atomic_energies={xyz}",
            "{xyz} --out o -o atomic_energies=atoms",
            "{grid} --out o",
            "{xyz} --out o -o keys=energy",
            "{xyz} --out o -o read={{}}",
            "nothere.yaml",
        )
    ],
)
attacks(
    "output folders",
    [
        line
        for folder in ("{xyz}", "{xyz}/below", "/proc/nothing/here", 300 * "x")
        for line in (
            ("run", "{grid}", "--out", folder),
            ("train", "{grid}", "random-mace-seed0", "--out", folder),
            ("split", "{grid}", "--out", folder),
            ("prepare", "{xyz}", "--workers", "1", "--out", folder),
            ("eval", "{run}", "{xyz}", "--out", folder),
            (
                "md",
                "{run}",
                "--structure",
                "{xyz}",
                "-o",
                "structures.frames=0",
                "--out",
                folder,
            ),
            ("report", folder),
        )
    ],
)
attacks(
    "commands",
    [
        "nonsense",
        "run",
        "run nothing",
        "run {xyz}",
        "run {grid} --jobs 0",
        "run {grid} --jobs two",
        "run {grid} --log paper",
        "run {grid} --submit --submit-option nonsense",
        "run {grid} --submit --submit-option a=[",
        "template nothing",
        "template",
        "info",
        "info nothere",
        "info {xyz} --verify",
        "info {results}",
        "report",
        "report {xyz}",
        "report {home}",
        "train {grid}",
        "train {grid} nonsense",
        "train {grid} random-mace-seed0 --distributed",
        "train {grid} random-mace-seed0 --process-id 0",
        "train {grid} random-mace-seed0 --coordinator nonsense",
        "train {grid} random-mace-seed0 --coordinator localhost:99999",
        "train {grid} random-mace-seed0 --coordinator localhost:9 --num-processes 2 "
        "--process-id 2",
        "train {grid} random-mace-seed0 --coordinator [:9 --num-processes 2 "
        "--process-id 1",
        "eval nowhere",
        "eval {home} {xyz}",
        "eval {run} nothere.xyz",
        "eval {run} {xyz} --embeddings no/where.npz",
    ],
)
attacks(
    "chemsplit",
    [
        f"chemsplit {line}"
        for line in (
            "nonsense",
            "describe",
            "describe nothere.xyz -o o.npz",
            "describe {xyz} -o o.json",
            "describe {xyz} -o no/o.npz",
            "describe {xyz} -o {home}",
            "describe {xyz} -o o.npz --r-cut nan --jobs 1",
            "describe {xyz} -o o.npz --descriptor composition --r-cut 3",
            "describe {xyz} -o o.npz --compression nonsense",
            "describe {xyz} -o o.npz --id-key nothere",
            "describe {xyz} -o o.npz --periodic yes --descriptor composition --r-cut 1",
            "describe {grid} -o o.npz",
            "describe {xyz} -o o.npz --store {xyz} --descriptor composition",
            "split {descriptors} -o s.json --kind nonsense",
            "split {descriptors} -o s.json --kind random --test-fraction 2",
            "split {descriptors} -o s.json --kind random --test-fraction nan",
            "split {descriptors} -o s.json --kind random --validation-fraction 2",
            "split {descriptors} -o s.json --kind cluster --clusters 1",
            "split {descriptors} -o s.json --kind cluster --clusters 99",
            "split {descriptors} -o s.json --kind size --max-train 0",
            "split {descriptors} -o s.json --kind random --seed -1",
            "split {descriptors} -o {xyz}/s.json --kind random",
            "split {npz} -o s.json --kind random",
            "split {model} -o s.json",
            "report {descriptors} --split nothere.json",
            "report {descriptors} --split {grid}",
            "report {xyz} --split {split}",
            "map {descriptors} -o m.png",
            "map {descriptors} -o m.nonsense --color-by element",
            "map {descriptors} -o m.png --color-by values --values {grid}",
        )
    ],
)


@pytest.mark.parametrize(
    ("kind", "name", "words"), ATTACKS, ids=[f"{k}: {n}" for k, n, _ in ATTACKS]
)
def test_command_lines(kind, name, words, bases, assert_rejected):
    paths = {k: str(v) for k, v in vars(bases).items() if k != "frames"}
    arguments = []
    for word in words:
        for key, path in paths.items():
            word = word.replace("{" + key + "}", path)
        arguments.append(word)
    assert_rejected(*arguments)
