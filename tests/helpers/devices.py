"""The devices that tests/conftest.py hides from the process of the tests."""

import os


def environment_with_devices() -> dict[str, str]:
    """For a process that is to see them: the environment as it was before."""
    shown = os.environ.get("REDONE_TEST_DEVICES", "all")
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return environment if shown == "all" else {**environment, "CUDA_VISIBLE_DEVICES": shown}
