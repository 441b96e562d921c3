"""Published numbers of SplitMix64 are the oracle; bits belong to places, however they are cut out."""

import pytest
import torch

from megatron_redone.models.random_bits import _GAMMA, key_of, random_bits

# The first numbers for seed 1234567 (https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64).
PUBLISHED = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]


def bits(key: int, rows: tuple[int, int], columns: tuple[int, int], width: int) -> torch.Tensor:
    first, shape = (rows[0], columns[0]), (rows[1] - rows[0], columns[1] - columns[0])
    return random_bits(key, first, shape, width, torch.device("cpu"))


def test_numbers_are_those_of_splitmix64() -> None:
    drawn = bits(1234567 + _GAMMA, (0, 1), (0, 20), 20)
    assert [number % (1 << 64) for number in drawn.contiguous().view(torch.int64)[0].tolist()] == PUBLISHED


@pytest.mark.parametrize("width", [1, 4, 10, 31])
def test_a_part_is_that_of_the_whole(width: int) -> None:
    key = key_of(1, "w")
    whole = bits(key, (0, 50), (0, width), width)
    for rows, columns in (((0, 50), (0, 1)), ((7, 9), (width // 3, width)), ((49, 50), (width // 2, width // 2 + 1))):
        assert torch.equal(bits(key, rows, columns, width), whole[slice(*rows), slice(*columns)])


def test_bits_are_uniform_and_places_have_their_own() -> None:
    drawn = bits(key_of(1, "w"), (0, 1000), (0, 1000), 1000)
    values = drawn.double()
    assert abs(values.mean() + 0.5) < 4 * 65536 / 12**0.5 / 1000
    assert values.std() == pytest.approx(65536 / 12**0.5, rel=0.003)
    for other in (drawn.roll(1, 0), drawn.roll(1, 1), bits(key_of(1, "v"), (0, 1000), (0, 1000), 1000)):
        assert (drawn == other).double().mean() < 4e-5  # 1.5e-5 by chance
    assert key_of(1, "w") not in (key_of(2, "w"), key_of(1, "v"), key_of("1", "", "w"))
