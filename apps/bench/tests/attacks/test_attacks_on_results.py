"""Attacks with damaged results, models, simulations and prepared datasets."""

import json
import shutil

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ATTACKS = []

DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: 2 * len(content) // 3 - 1],
    "binary": lambda content: b"\xff\xfe\x00" + content,
    "null": lambda content: b"null",
    "list": lambda content: b"[]",
    "object": lambda content: b"{}",
    "number": lambda content: b"7",
    "deep": lambda content: 100_000 * b"[",
    "deep objects": lambda content: 50_000 * b'{"a":',
    "missing": None,
}


def copied(source, folder):
    shutil.copytree(source, folder)
    return folder


def damage(path, change):
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))


def attack(kind, name, build):
    ATTACKS.append((kind, name, build))


def on_results(name, label, change, *command):
    """Adds a damaged file of a results folder, and the command that reads it."""

    def build(folder, bases):
        results = copied(bases.results, folder / "results")
        damage(results / name, change)
        paths = {"results": results, "run": results / bases.run.name}
        paths |= {"grid": bases.grid, "xyz": bases.xyz}
        return "bench", *(paths.get(word, word) for word in command)

    attack(f"results, {command[0]}", f"{name} {label}", build)


RUN = "random-mace-seed0"
for file in ("result.json", "cost.json", "predictions.extxyz", "split.json"):
    for label in ("empty", "cut", "binary", "null", "list", "object", "deep"):
        on_results(f"{RUN}/{file}", label, DAMAGES[label], "report", "results")
for file in ("metrics.jsonl", "../config.yaml"):
    for label in ("empty", "binary", "deep"):
        on_results(f"{RUN}/{file}", label, DAMAGES[label], "report", "results")
for file in ("result.json", "split.json"):
    for label in ("empty", "cut", "list", "object", "number", "deep", "deep objects"):
        on_results(
            f"{RUN}/{file}", label, DAMAGES[label], "run", "grid", "--out", "results"
        )
# Readers ignore bytes in front of a zip archive.
HARMLESS = {"model.npz": {"binary"}, "result.json": set()}
for file, harmless in HARMLESS.items():
    for label in [name for name in DAMAGES if name not in harmless]:
        on_results(f"{RUN}/{file}", label, DAMAGES[label], "eval", "run", "xyz")
for label in ("empty", "binary", "list", "deep", "number", "missing"):
    on_results("config.yaml", label, DAMAGES[label], "eval", "run")


def entry(path, value):
    """Returns a function that replaces a value in JSON."""

    def change(content):
        root = node = json.loads(content)
        *parents, last = path.split(".")
        for key in parents:
            node = node[int(key) if isinstance(node, list) else key]
        node[last] = value
        return json.dumps(root).encode()

    return change


for path, value in {
    "run": None,
    "run.backbone": "nonsense",
    "run.seed": "zero",
    "settings": [],
    "settings.mace.channels": 10**9,
    "settings.mace.radial_mlp": "wide",
    "settings.cutoff": -1,
    "errors.test": {},
    "errors.test.energy_mae": "low",
    "errors.validation.force_mae": [1],
    "floors.test.energy_mae": {},
    "sizes.test": "many",
    "excluded.structures": "none",
    "excluded.new_elements": 3,
    "parameters": "many",
    "model": 7,
    "sizes.train": None,
    "data": 7,
}.items():
    on_results(f"{RUN}/result.json", path, entry(path, value), "report", "results")


def arrays_of(change):
    """Returns a function that rewrites an npz archive."""

    def edit(path):
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        change(arrays)
        np.savez(path, **arrays)

    return edit


def header(path, value):
    """Returns a function that replaces a value in the header of a model."""

    def change(arrays):
        content = entry(path, value)(arrays["header"].tobytes())
        arrays["header"] = np.frombuffer(content, np.uint8)

    return arrays_of(change)


def of_bytes(change):
    return lambda path: damage(path, change)


def on_array(make):
    def change(arrays):
        name = next(n for n, a in arrays.items() if a.dtype.kind == "f" and a.ndim)
        arrays[name] = make(arrays[name])

    return arrays_of(change)


MODELS = {
    **{
        name: of_bytes(change)
        for name, change in DAMAGES.items()
        if change and name not in HARMLESS["model.npz"]
    },
    "zeros inside": of_bytes(lambda c: c[:300] + bytes(200) + c[500:]),
    "format": header("format", "nonsense"),
    "no header": header("header", None),
    "a list for a header": header("header", []),
    "no array": arrays_of(lambda arrays: arrays.pop("array_0")),
    "no names": arrays_of(lambda arrays: arrays.pop("names")),
    "another shape": on_array(lambda a: np.concatenate([a, a])),
    "not finite": on_array(lambda a: a * np.nan),
    "infinite": on_array(lambda a: a + np.inf),
    "words": on_array(lambda a: np.full(a.shape, "word")),
    "header of noise": arrays_of(
        lambda a: a.update(header=np.frombuffer(b"\xff" * 40, np.uint8))
    ),
    "deep header": arrays_of(
        lambda a: a.update(header=np.frombuffer(b"[" * 100_000, np.uint8))
    ),
}


def _models():
    for name, edit in MODELS.items():

        def build(folder, bases, edit=edit):
            path = folder / "model.npz"
            shutil.copyfile(bases.model, path)
            edit(path)
            structure = ("--structure", bases.xyz, "-o", "structures.frames=0")
            return "bench", "md", path, *structure, "--out", folder / "out"

        attack("model files", name, build)


_models()


def _simulations():
    simulation = "mace/own-0"
    damages = [
        *(
            (f"{simulation}/result.json", label)
            for label in DAMAGES
            if label != "missing"
        ),
        *(
            (f"{simulation}/simulation.json", label)
            for label in ("empty", "cut", "list", "deep")
        ),
        *(("settings.json", label) for label in ("empty", "cut", "list", "deep")),
    ]
    for name, label in damages:

        def build(folder, bases, name=name, label=label):
            out = copied(bases.simulated, folder / "out")
            damage(out / name, DAMAGES[label])
            structure = (
                "--structure",
                bases.xyz,
                "-o",
                "structures.frames=0",
                "--mode",
                "dev",
            )
            return "bench", "md", bases.run, *structure, "--out", out

        attack("simulations", f"{name} {label}", build)
    for key, value in {
        "model": "another",
        "n_atoms": 0,
        "stages": [],
        "stages.0.replicas": [],
        "stages.1.name": "other",
        "stages.0.passed": "yes",
        "prechecks": [{"name": 1}],
        "relaxation.steps": "many",
        "radial_distribution": {"r": 1},
        "vibrations": [],
        "charges": 7,
    }.items():

        def build(folder, bases, key=key, value=value):
            out = copied(bases.simulated, folder / "out")
            damage(out / simulation / "result.json", entry(key, value))
            structure = (
                "--structure",
                bases.xyz,
                "-o",
                "structures.frames=0",
                "--mode",
                "dev",
            )
            return "bench", "md", bases.run, *structure, "--out", out

        attack("simulations", f"result.json {key}", build)


_simulations()


def _prepared():
    damages = [
        *(("dataset.json", label) for label in DAMAGES if label != "missing"),
        *(
            (f"{column}.npy", label)
            for column in ("positions", "numbers", "energy", "end_atom", "order")
            for label in ("empty", "cut", "missing")
        ),
    ]
    for name, label in damages:

        def build(folder, bases, name=name, label=label):
            dataset = copied(bases.prepared, folder / "set")
            damage(dataset / name, DAMAGES[label])
            return "bench", "info", dataset

        attack("prepared datasets", f"{name} {label}", build)

    def swapped(folder, bases):
        dataset = copied(bases.prepared, folder / "set")
        path = dataset / "energy.npy"
        content = bytearray(path.read_bytes())
        content[-9] ^= 1
        path.write_bytes(content)
        return "bench", "info", dataset, "--verify"

    attack("prepared datasets", "one bit", swapped)


_prepared()


def _described():
    for name in ("descriptors", "split"):
        for label, change in DAMAGES.items():

            def build(folder, bases, name=name, change=change):
                source = getattr(bases, name)
                path = folder / source.name
                shutil.copyfile(source, path)
                damage(path, change)
                files = {"descriptors": bases.descriptors, "split": bases.split}
                files[name] = path
                line = (files["descriptors"], "--split", files["split"])
                return "chemsplit", "report", *line

            attack("descriptors and splits", f"{name} {label}", build)


_described()


@pytest.mark.parametrize(
    ("kind", "name", "build"), ATTACKS, ids=[f"{k}: {n}" for k, n, _ in ATTACKS]
)
def test_damaged_results(kind, name, build, bases, assert_rejected, tmp_path):
    assert_rejected(*build(tmp_path, bases))
