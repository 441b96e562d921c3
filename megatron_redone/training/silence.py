"""Who waits for whom, from what the ranks said last."""

from collections.abc import Mapping, Sequence

from megatron_redone.distributed.heartbeats import Beat

_MOST = 8  # ranks that are named one by one


def describe_silence(before: Mapping[int, Beat], now: Mapping[int, Beat], world_size: int, seconds: float) -> str:
    """One line about the ranks that wait and those that are waited for.

    Args:
        before: What each rank had said some time ago.
        now: What it has said since; a rank lives whose beats went on.
        world_size: How many ranks there are.
        seconds: Between the two.
    """
    culprits = [*_gone(now), *_silent(before, now, world_size, seconds), *_elsewhere(before, now)]
    waiting = [rank for rank, beat in now.items() if beat.waits and not beat.ended and _lives(before, now, rank)]
    if not culprits:
        places = dict.fromkeys(now[rank].place for rank in waiting)
        return f"all of {world_size} ranks wait for each other: {'; '.join(places)}"
    waited = f"{_named(waiting)} wait{'s' if len(waiting) == 1 else ''} for " if waiting else ""
    return waited + "; ".join(culprits)


def silent_ranks(before: Mapping[int, Beat], now: Mapping[int, Beat], world_size: int) -> list[int]:
    """Ranks of which nothing was heard between the two, though they have not said that they end."""
    return [
        rank for rank in range(world_size) if not _lives(before, now, rank) and not (rank in now and now[rank].ended)
    ]


def ended_first(now: Mapping[int, Beat]) -> list[int]:
    """Ranks that have said why they ended."""
    return [rank for rank, beat in now.items() if beat.ended]


def _lives(before: Mapping[int, Beat], now: Mapping[int, Beat], rank: int) -> bool:
    return rank in now and (rank not in before or now[rank].count > before[rank].count)


def _gone(now: Mapping[int, Beat]) -> list[str]:
    return [f"rank {rank} ({now[rank].host}), which ended: {now[rank].ended}" for rank in ended_first(now)]


def _silent(before: Mapping[int, Beat], now: Mapping[int, Beat], world_size: int, seconds: float) -> list[str]:
    silent = silent_ranks(before, now, world_size)
    if not silent:
        return []
    hosts = dict.fromkeys(now[rank].host for rank in silent if rank in now)
    which = "which has" if len(silent) == 1 else "which have"
    where = f" ({', '.join(hosts)})" if hosts else ""
    return [
        f"{_named(silent)}{where}, {which} said nothing for {seconds:.0f} s: stopped or killed, or host or network gone"
    ]


def _elsewhere(before: Mapping[int, Beat], now: Mapping[int, Beat]) -> list[str]:
    """Of the ranks that live and do not wait those that are furthest behind."""
    busy = [rank for rank, beat in now.items() if not beat.waits and not beat.ended and _lives(before, now, rank)]
    least = min((now[rank].step for rank in busy), default=0)
    return [
        f"rank {rank} ({now[rank].host}), which is in {now[rank].place}" for rank in busy if now[rank].step == least
    ][:_MOST]


def _named(ranks: Sequence[int]) -> str:
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    shown = ", ".join(map(str, ranks[:_MOST]))
    return f"ranks {shown}" + (f" and {len(ranks) - _MOST} more" if len(ranks) > _MOST else "")
