"""What lives as long as the process, kept out of the garbage collector's passes."""

import gc
from functools import cache


@cache
def freeze_once() -> None:
    """Set aside what is alive now, modules above all, at the first call in a process.

    Later passes, and the one when the interpreter ends, no longer walk it. A cycle that is garbage
    by then or becomes it later stays in memory: once, never for each configuration.
    """
    gc.freeze()
