"""`python -m tests.helpers.faulty_rank FAULT RANK STEP KEYS...`: `redone pretrain`, one of whose ranks goes wrong.

Started by torchrun. FAULT is what rank RANK does when it takes the batch of step STEP, and on each later one if it is
`slow`.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

from megatron_redone import cli
from megatron_redone.batches.micro_batch import GlobalBatch
from megatron_redone.training import setup


def _raise() -> None:
    raise ValueError("a bad sector")


FAULTS: dict[str, Callable[[], object]] = {
    "sleep": lambda: time.sleep(600),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "raise": _raise,
    "exit": lambda: sys.exit(0),
    "vanish": lambda: os._exit(0),
    "slow": lambda: time.sleep(0.4),
}


def main() -> int:
    fault, rank, step, *keys = sys.argv[1:]
    whole = setup.agreed

    def agreed(batches: Iterator[GlobalBatch]) -> Iterator[GlobalBatch]:
        for number, batch in enumerate(whole(batches), 1):
            reached = number == int(step) or (fault == "slow" and number > int(step))
            if reached and int(os.environ["RANK"]) == int(rank) and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
                FAULTS[fault]()
            yield batch

    setup.agreed = agreed  # type: ignore[assignment]
    return cli.main(["pretrain", *keys])


if __name__ == "__main__":
    sys.exit(main())
