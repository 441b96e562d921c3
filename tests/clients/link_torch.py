"""Links this environment's torch, and what it needs that is not there, into another environment.

    python link_torch.py SITE_PACKAGES

A second environment then costs no second copy of it. The packages are linked one by one: everything else of this
environment stays unseen, so that the other's versions of transformers and its libraries are its own.
"""

import importlib.metadata
import sys
from pathlib import Path

from packaging.requirements import Requirement


def needed(name: str) -> dict[str, importlib.metadata.Distribution]:
    """A distribution and what it requires, and what that requires, by their names."""
    found: dict[str, importlib.metadata.Distribution] = {}
    open_names = [name]
    while open_names:
        name = open_names.pop()
        if name in found:
            continue
        found[name] = importlib.metadata.distribution(name)
        requirements = [Requirement(text) for text in found[name].requires or []]
        open_names += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def link(site_packages: Path) -> None:
    """Links the top-level folders and files of all of them; what is there already stays."""
    for distribution in needed("torch").values():
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            target = site_packages / top
            source = Path(str(distribution.locate_file(top)))
            if not target.exists() and source.exists() and not top.endswith(".pth"):
                target.symlink_to(source)


if __name__ == "__main__":
    link(Path(sys.argv[1]))
