"""Keys of every stage that reads records: how large one may be, and how many may be invalid."""

from megatron_redone.config.field import key


def max_record_mb() -> int:
    """The key of that name."""
    return key("megabytes of one record; a larger one is invalid", 64, at_least=1)


def max_invalid(whose: str = "the", default: float = 0.01) -> float:
    """The key of that name.

    Args:
        whose: Records, for example `a source's`.
        default: The fraction.
    """
    return key(
        f"stop when more than this fraction of {whose} records is invalid",
        default,
        decides=False,
        at_least=0,
        at_most=1,
        formerly="max_rejected",
    )
