"""Attacks with invalid grids and atomic energies in YAML."""

import pytest

pytestmark = pytest.mark.slow

ATTACKS = []

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
TEXTS = {
    "latin-1": "# Größe\ndataset: ions\n".encode("latin-1"),
    "utf-16": "dataset: ions\n".encode("utf-16"),
    "zeros": bytes(100),
    "tabs": b"dataset: ions\ntrain:\n\tepochs: 1\n",
    "deep list": b"seeds: " + 50_000 * b"[",
    "deep objects": b"seeds: " + 50_000 * b"{a: ",
    "bomb": BOMB.encode(),
    "bomb of keys": b"a: &a {b: 1}\n<<: [*a" + 200_000 * b", *a" + b"]\n",
    "large": b"dataset: " + 2_000_000 * b"x",
    "list": b"[1, 2]\n",
    "number": b"7\n",
    "two documents": b"dataset: ions\n---\ndataset: ions\n",
    "unclosed": b"dataset: ions\nseeds: [0\n",
    "key twice": b"dataset: ions\ndataset: frameworks\n",
    "number for a key": b"dataset: ions\n1: 2\n",
    "list for a key": b"? [dataset]\n: ions\n",
    "object of Python": b"dataset: !!python/object/apply:os.system [ls]\n",
    "unknown tag": b"dataset: !ions ions\n",
    "no data": b"seeds: [0]\n",
    "data of numbers": b"dataset: 7\n",
    "unknown key": b"dataset: ions\nseed: 0\n",
    "unknown layer": b"dataset: ions\nlong_range: [ewald]\n",
    "no seeds": b"dataset: ions\nseeds: []\n",
    "train of nothing": b"dataset: ions\ntrain_overrides: {nothing: {}}\n",
    "train of bad values": b"dataset: ions\ntrain_overrides: {mace: {epochs: 0}}\n",
    "infinite": b"dataset: ions\ntrain: {learning_rate: .inf}\n",
}
ENERGIES = {
    "empty": b"",
    "list": b"[1]\n",
    "unknown element": b"Qq: 1\n",
    "words": b"H: low\nC: 1\nO: 1\n",
    "not finite": b"H: .nan\nC: 1\nO: 1\n",
    "one missing": b"H: -13.6\nC: -1030\n",
    "true": b"H: true\nC: 1\nO: 1\n",
    "nested": b"H: {a: 1}\n",
    "deep": 50_000 * b"[",
    "bomb": BOMB.encode(),
    "latin-1": "H: 1 # Größe\n".encode("latin-1"),
    "unclosed": b"{H: 1",
}
for name, text in TEXTS.items():
    ATTACKS.append(("grids", name, text))
for name, text in ENERGIES.items():
    ATTACKS.append(("atomic energies", name, text))


@pytest.mark.parametrize(
    ("kind", "name", "text"), ATTACKS, ids=[f"{k}: {n}" for k, n, _ in ATTACKS]
)
def test_settings(kind, name, text, bases, assert_rejected, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_bytes(text)
    if kind == "grids":
        assert_rejected("bench", "run", path, "--out", tmp_path / "out")
        return
    prepare = ("prepare", bases.xyz, "--workers", 1)
    prepare += ("-o", f"atomic_energies={path}")
    assert_rejected("bench", *prepare, "--out", tmp_path / "out")
