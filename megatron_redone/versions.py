"""Versions of what is installed, for what is written down about a result."""

import platform
from importlib.metadata import PackageNotFoundError, version

from megatron_redone import __version__


def installed_versions(*packages: str) -> dict[str, str]:
    """The versions of this project, of Python, and of those packages that are installed."""
    found = {"megatron_redone": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
