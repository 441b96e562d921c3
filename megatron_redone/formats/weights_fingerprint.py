"""The identity of a model's weights, without reading all of them: one function for all who keep it."""

import hashlib
from pathlib import Path

from megatron_redone.errors import UserError

_WEIGHTS = ("*.safetensors", "*.distcp", "*.bin")
_SAMPLE = 1 << 18  # bytes read at the beginning, the middle and the end of a file


def weights_fingerprint(folder: Path) -> str:
    """Sixteen hexadecimal digits of the weights in a Hugging Face directory or a run's checkpoint.

    Every file counts with its name, its size and three samples of its bytes. An optimizer's step changes every
    weight, so that two checkpoints of a run differ wherever one looks.

    Raises:
        UserError: there are no weights.
    """
    files = sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))
    if not files:
        raise UserError(f"{folder}: no weights there (files end in .safetensors or .distcp)")
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with open(file, "rb") as stream:
            for offset in (0, max(size - _SAMPLE, 0) // 2, max(size - _SAMPLE, 0)):
                stream.seek(offset)
                digest.update(stream.read(_SAMPLE))
    return digest.hexdigest()[:16]
