"""Memory that NumPy frees stays with the process, for the next array.

NumPy makes a new array for each result and frees it soon after. glibc gives freed memory of that
size back to the system at once, and the system clears every page of it that comes again: of a
population's step that can take a third of the time. glibc learns, though: once a large block has
been freed, it keeps blocks up to that size (its mallopt(3), M_MMAP_THRESHOLD, "dynamic").
"""

from functools import cache

import numpy as np

BLOCK = 30 * 2**20  # bytes; glibc learns of at most 32 MiB, and then keeps up to twice as much


@cache
def keep_freed_memory() -> None:
    """Have glibc learn, once a process; elsewhere this does nothing. No page of it is touched."""
    np.empty(BLOCK, dtype=np.uint8)
