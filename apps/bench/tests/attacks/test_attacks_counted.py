"""The number of attacks, and that no kind is more than a tenth of them."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_no_kind_of_attack_is_more_than_a_tenth():
    kinds = Counter()
    for path in Path(__file__).parent.glob("test_attacks_on_*.py"):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        names = [(kind, name) for kind, name, _ in module.ATTACKS]
        assert len(set(names)) == len(names)
        kinds.update(kind for kind, _ in names)
    total = sum(kinds.values())
    assert total >= 300 and max(kinds.values()) <= total / 10, kinds
