"""The one short hash: for work, fingerprints and names of caches."""

import hashlib
import json
from typing import Any


def short_hash(content: Any) -> str:
    """Sixteen hexadecimal digits of anything that JSON holds; the order of an object's keys does not count."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
