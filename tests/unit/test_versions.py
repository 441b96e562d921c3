"""What is installed, by the packages' own word."""

import sys

import numpy

from megatron_redone.versions import installed_versions


def test_versions_are_those_of_the_packages_and_what_is_missing_is_left_out() -> None:
    found = installed_versions("numpy", "no-such-package-of-ours")
    assert found["numpy"] == numpy.__version__ and "no-such-package-of-ours" not in found
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
