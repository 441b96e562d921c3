"""What setup.py asks for, read from the file: an environment's own metadata may be of an earlier one."""

import ast
from pathlib import Path

SETUP = Path(__file__).parents[2] / "setup.py"


def extras_of_stages() -> dict[str, list[str]]:
    """The requirements of each extra that a stage needs, by its name; without the tests' and the quickstart's."""
    body = ast.parse(SETUP.read_text(encoding="utf-8")).body
    named = {ast.unparse(node.targets[0]): node.value for node in body if isinstance(node, ast.Assign)}
    return ast.literal_eval(named["EXTRAS"])
