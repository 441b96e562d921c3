"""The identity of a model's weights, without reading all of them: one function for all who keep it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from megatron_redone.errors import UserError
from megatron_redone.formats.folder_checksums import Block, read_folder_checksums

_WEIGHTS = ("*.safetensors", "*.distcp", "*.bin")
_CHECKSUMS = (Path("checksums.json"), Path("run", "checksums.json"))  # of a Hugging Face directory, of a checkpoint
_READ_WHOLE = 4 << 20
_SPACING = 1 << 20  # of a larger file a block is read in each so many bytes, and sixteen at least
_BLOCK = 4 << 10


def weights_fingerprint(folder: Path) -> str:
    """Sixteen hexadecimal digits of the weights in a Hugging Face directory or a run's checkpoint.

    Every file counts with its name, its size and its bytes: all of them up to 4 MiB, of more a block of 4 KiB in each
    MiB, so that a file of 500 MB takes less than a second. Where the folder has checksums, they count too, and with
    them every byte as it was written. Without, a change that lies between two blocks is not seen.

    Raises:
        UserError: there are no weights, or the checksums are damaged.
    """
    files = sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))
    if not files:
        raise UserError(f"{folder}: no weights there (files end in .safetensors or .distcp)")
    checksums = _checksums(folder)
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        for block in checksums.get(file.name, []):
            digest.update(f"{block.length} {block.checksum}\n".encode())
        for sample in _samples(file):
            digest.update(sample)
    return digest.hexdigest()[:16]


def _checksums(folder: Path) -> dict[str, list[Block]]:
    found: dict[str, list[Block]] = {}
    for file in _CHECKSUMS:
        if (folder / file).is_file():
            found.update(read_folder_checksums(folder, file, "take another copy of it").files)
    return found


def _samples(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    with open(file, "rb") as stream:
        if size <= _READ_WHOLE:
            yield stream.read()
            return
        count = max(16, size // _SPACING)
        for number in range(count):
            stream.seek((size - _BLOCK) * number // (count - 1))
            yield stream.read(_BLOCK)
