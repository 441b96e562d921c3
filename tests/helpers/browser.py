"""Opens a page in headless Chromium (Debian's package `chromium`); tests skip themselves where there is none."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def open_page(page: Path, profile: Path, width: int = 1280, *flags: str) -> tuple[str, list[str]]:
    """Lets a page's scripts run.

    Args:
        page: An HTML file.
        profile: An empty folder for the browser's own files.
        width: Of the window, in pixels.
        flags: More of the browser's options.

    Returns:
        The document as it then is, and what was written to the console: errors of scripts, refused requests.
    """
    browser = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no headless Chromium here: apt-get install chromium")
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--enable-logging=stderr",
        f"--window-size={width},900", "--virtual-time-budget=2000", "--dump-dom", *flags, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)
