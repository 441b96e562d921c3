"""`python -m megatron_redone STAGE ...`, the same as `redone STAGE ...`.

Checkpoint writers start processes that import this module again: it must stay light and guarded.
"""

import sys

from megatron_redone.cli import main

if __name__ == "__main__":
    sys.exit(main())
