"""After a kernel kill, which nothing in the killed process can tell, the next start does.

The run folder's lock file says since when its holder runs: how often the kernel had killed for want of memory then. A
holder that ends in any orderly way takes that back.
"""

from __future__ import annotations

import json

from llmtrain import memory
from llmtrain.atomic import FolderLock
from llmtrain.log import warn

RELIEF = ("lower trainer.batch_size or data.max_source_tokens, raise trainer.accumulate, or let "
          "trainer.find_batch_size=true measure what fits")


def watch(lock: FolderLock) -> None:
    """Tell on stderr if the lock's last holder was killed while the kernel killed for memory; then note our own start.

    A kill -9 by hand, or a machine that went down, leaves the counters as they are and is not told.
    """
    now = memory.kills()
    try:
        then = json.loads(lock.left)
        risen = [name for name, count in then["kills"].items() if now.get(name, 0) > count]
    except (ValueError, KeyError, TypeError, AttributeError):
        risen = []
    if risen:
        warn(f"the last start in {lock.path} was killed, and since it began the kernel has killed for want of memory: "
             f"{RELIEF}")
    lock.note(json.dumps({"kills": now}))
