"""Where a thread is."""

import threading
import time
from collections.abc import Callable

from megatron_redone.training.place import Place, place_of


def while_in(work: Callable[[], object]) -> Place:
    """Where a thread is that does this, a little later."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    time.sleep(0.2)
    assert thread.ident is not None
    return place_of(thread.ident)


def sleep_here() -> None:
    time.sleep(1.0)


def test_a_place_has_function_file_and_line() -> None:
    place = while_in(sleep_here)
    assert place.text.startswith("sleep_here (test_place.py:") and not place.waits


def test_within_a_collective_a_thread_waits() -> None:
    """The real ones are in tests/distributed/test_hangs.py."""
    code = compile("time.sleep(1.0)", "/x/torch/distributed/distributed_c10d.py", "exec")
    assert while_in(lambda: exec(code, {"time": time})).waits
    code = compile("time.sleep(1.0)", "/x/torch/nn/modules/linear.py", "exec")
    assert not while_in(lambda: exec(code, {"time": time})).waits


def test_a_thread_that_has_ended_is_nowhere() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert thread.ident is not None and "ended" in place_of(thread.ident).text
