"""After a kernel kill, which nothing in the killed process can tell, the next start does.

The run folder's lock holds how often the kernel had killed for want of memory when its holder started. A holder that
ends in any orderly way takes that back.
"""

from __future__ import annotations

from llmtrain.core import memory
from llmtrain.core.lock import FolderLock
from llmtrain.core.logging import warn

KILLS = "kills"
RELIEF = ("lower trainer.batch_size or data.max_source_tokens, raise trainer.accumulate, or let "
          "trainer.find_batch_size=true measure what fits")


def watch(lock: FolderLock) -> None:
    """Tell on stderr if the lock's last holder was killed while the kernel killed for memory; then note our own start.

    A kill -9 by hand, or a machine that went down, leaves the counters as they are and is not told.
    """
    now, then = memory.kills(), lock.left.get(KILLS)
    if isinstance(then, dict) and any(now.get(name, 0) > count for name, count in then.items()
                                      if isinstance(count, int)):
        warn(f"the last start in {lock.path} was killed, and since it began the kernel has killed for want of memory: "
             f"{RELIEF}")
    lock.note({KILLS: now})
