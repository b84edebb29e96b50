"""The C library's memory allocator, set for a worker, which takes and frees megabytes all the time.

Every batch takes and frees pictures of the same few sizes. As it comes, glibc's malloc hands what
is freed back to the kernel, and the next batch pays for its pages anew. A model's own process has
no use for it: its time is the same either way. The options are those of mallopt(3).
"""

import ctypes
import os
from typing import NamedTuple

MB = 1 << 20


class Option(NamedTuple):
    variable: str  # by which the one who starts the process may set it instead
    number: int  # in malloc.h
    value: int


OPTIONS = (
    Option("MALLOC_MMAP_THRESHOLD_", -3, 32 * MB),  # the highest: what is less is from the heap
    Option("MALLOC_TRIM_THRESHOLD_", -1, 512 * MB),  # free at the heap's end, and still kept
    Option("MALLOC_TOP_PAD_", -2, 16 * MB),
    Option("MALLOC_ARENA_MAX", -8, 2),  # each keeps what was freed: many would keep much
)


def keep_freed_memory() -> bool:
    """Reuse freed memory before asking the kernel for more; to be called before any thread starts.

    Options that the environment sets are left as they are. False where malloc is not glibc's.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    ours = [each for each in OPTIONS if each.variable not in os.environ]
    taken = [mallopt(each.number, each.value) for each in ours]
    return all(taken)
