"""Who waits for whom."""

from megatron_redone.distributed.heartbeats import Beat
from megatron_redone.training.silence import describe_silence, silent_ranks


def beat(count: int, place: str = "all_reduce (collectives.py:9)", *, waits: bool = True, **more: object) -> Beat:
    facts = {"step": 7, "own_seconds": 0.1, "host": "node1", "process": 5, **more}
    return Beat(count=count, place=place, waits=waits, **facts)  # type: ignore[arg-type]


def test_the_rank_that_works_is_waited_for() -> None:
    before = {rank: beat(1) for rank in range(3)}
    now = {0: beat(4), 1: beat(4, "read (reader.py:3)", waits=False), 2: beat(4)}
    line = describe_silence(before, now, 3, 6.0)
    assert line == "ranks 0, 2 wait for rank 1 (node1), which is in read (reader.py:3)"


def test_of_those_that_work_the_one_that_is_behind_is_waited_for() -> None:
    """A rank of another pipeline stage may compute while it is the last one that can."""
    before = {rank: beat(1) for rank in range(3)}
    now = {
        0: beat(4, "forward (block.py:1)", waits=False, step=8),
        1: beat(4, "read (reader.py:3)", waits=False),
        2: beat(4),
    }
    assert describe_silence(before, now, 3, 6.0) == "rank 2 waits for rank 1 (node1), which is in read (reader.py:3)"


def test_a_rank_whose_beats_stay_the_same_says_nothing() -> None:
    before = {rank: beat(3) for rank in range(3)}
    now = {0: beat(6), 1: beat(3, host="node2"), 2: beat(6)}
    assert silent_ranks(before, now, 3) == [1]
    line = describe_silence(before, now, 3, 6.0)
    assert line.startswith("ranks 0, 2 wait for rank 1 (node2), which has said nothing for 6 s: stopped or killed")


def test_a_rank_that_was_never_heard_of_says_nothing() -> None:
    before = {0: beat(3)}
    assert silent_ranks(before, {0: beat(6)}, 2) == [1]
    assert "rank 1, which has said nothing" in describe_silence(before, {0: beat(6)}, 2, 6.0)


def test_many_silent_ranks_are_counted() -> None:
    before = {rank: beat(3, host=f"node{rank // 8}") for rank in range(24)}
    now = {rank: beat(6 if rank < 8 else 3, host=f"node{rank // 8}") for rank in range(24)}
    line = describe_silence(before, now, 24, 6.0)
    assert "ranks 8, 9, 10, 11, 12, 13, 14, 15 and 8 more (node1, node2), which have said nothing" in line


def test_a_rank_that_has_said_why_it_ends_is_not_silent() -> None:
    before = {0: beat(3), 1: beat(3)}
    now = {0: beat(6), 1: beat(4, ended="ValueError: x")}
    assert silent_ranks(before, {**now, 1: beat(3, ended="ValueError: x")}, 2) == []
    assert describe_silence(before, now, 2, 6.0) == "rank 0 waits for rank 1 (node1), which ended: ValueError: x"


def test_ranks_that_all_wait_are_shown_with_their_places() -> None:
    before = {rank: beat(1) for rank in range(2)}
    now = {0: beat(4, "recv (p2p.py:1)"), 1: beat(4, "all_gather (ops.py:2)")}
    line = describe_silence(before, now, 2, 6.0)
    assert line == "all of 2 ranks wait for each other: recv (p2p.py:1); all_gather (ops.py:2)"
