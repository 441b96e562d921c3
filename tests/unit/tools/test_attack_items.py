"""What an attack found has tests that are there."""

import ast
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]


def test_every_item_names_tests_that_are_there() -> None:
    items = yaml.safe_load((ROOT / "tools" / "reliability" / "attack_items.yaml").read_text())
    numbers = [item["number"] for item in items]
    assert len(set(numbers)) == len(numbers)
    assert {int(number[1:].partition(".")[0]) for number in numbers} == set(range(8, 21))
    for item in items:
        assert item["tests"], item
        for test in item["tests"]:
            file, name = test.split("::")
            functions = [node.name for node in ast.parse((ROOT / file).read_text()).body if hasattr(node, "name")]
            assert name in functions, test
