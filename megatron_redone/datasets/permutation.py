"""A keyed permutation of range(n) that needs no memory for its n numbers.

A Feistel network permutes the smallest power of two that holds n, whatever its round function;
numbers that land beyond n are sent through again until they fall inside ("cycle walking"; Black and
Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002), which takes fewer than two passes on
average. All arithmetic is on 64-bit integers: the order is the same on every machine.
"""

import hashlib
import struct
from typing import Any

import numpy as np

_ROUNDS = 8  # Luby and Rackoff prove 4 with ideal rounds; ours are cheap, so there are twice as many
_MASK = (1 << 64) - 1
# With halves of a few bits a network reaches few of the permutations: below this a sorted table does.
_TABLE_LIMIT = 4096


class Permutation:
    """Maps each of 0..n-1 to another of them, one to one, as n and the key tell."""

    def __init__(self, n: int, *key: int) -> None:
        """Derives the round keys.

        Args:
            n: How many numbers are permuted, at least 1.
            key: Integers that choose the permutation, for example a seed and an epoch.
        """
        assert 1 <= n < 1 << 63, "the permutation needs at least one number"
        self.n = n
        text = repr((n, *(int(part) for part in key)))
        digest = hashlib.blake2b(text.encode(), digest_size=8 * _ROUNDS).digest()
        self._round_keys = struct.unpack(f"<{_ROUNDS}Q", digest)
        bits = (n - 1).bit_length()
        self._low_bits = bits // 2
        self._low_mask = (1 << self._low_bits) - 1
        self._high_mask = (1 << (bits - self._low_bits)) - 1
        self._table = self._small_table() if n <= _TABLE_LIMIT else None

    def __call__(self, i: int) -> int:
        """The number that stands at place `i` of the permuted range."""
        assert 0 <= i < self.n, f"{i} is not in range({self.n})"
        if self._table is not None:
            return int(self._table[i])
        i = self._encrypt(i)
        while i >= self.n:
            i = self._encrypt(i)
        return i

    def many(self, places: np.ndarray) -> np.ndarray:
        """The same for an array of places; the answer is `int64` of the same shape."""
        if self._table is not None:
            return self._table[places]
        flat = self._encrypt(places.astype(np.uint64).ravel())
        outside = np.flatnonzero(flat >= self.n)
        while len(outside):
            flat[outside] = self._encrypt(flat[outside])
            outside = outside[flat[outside] >= self.n]
        return flat.astype(np.int64).reshape(places.shape)

    def _encrypt(self, x: Any) -> Any:
        """One pass over an int or a `uint64` array: the two halves are mixed into each other in turn."""
        low, high = x & self._low_mask, x >> self._low_bits
        for number, key in enumerate(self._round_keys):
            if number % 2:
                low = low ^ (_mix(high ^ key) & self._low_mask)
            else:
                high = high ^ (_mix(low ^ key) & self._high_mask)
        return (high << self._low_bits) | low

    def _small_table(self) -> np.ndarray:
        """Places sorted by a keyed hash: every permutation of a small range is as likely as another."""
        keys = np.arange(self.n, dtype=np.uint64)
        for key in self._round_keys[:2]:
            keys = _mix(keys ^ key)
        return np.argsort(keys, kind="stable")


def _mix(x: Any) -> Any:
    """Scrambles an int or a `uint64` array: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)
