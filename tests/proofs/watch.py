"""Python's own record of the changes in a folder, to see that no call bypassed the simulated disk."""

import os
import sys
from collections import Counter

from proofs.disk import Disk, not_events

EVENTS = {"os.rename": "rename", "os.remove": "unlink", "os.mkdir": "mkdir", "os.truncate": "truncate"}


class Watch:
    """Counts the changes in a disk's folder that Python's audit events report."""

    def __init__(self, disk: Disk):
        self.disk = disk
        self.seen: Counter = Counter()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple) -> None:
        if event == "open" and isinstance(args[0], str | os.PathLike):
            flags = args[2] if isinstance(args[2], int) else 0
            kind = "write" if flags & (os.O_WRONLY | os.O_RDWR) else "read"
        elif event in EVENTS:
            kind = EVENTS[event]
        else:
            return
        if event == "os.truncate" and isinstance(args[0], int):
            name = self.disk.names.get(args[0])
        else:
            name = self.disk.inside(args[0])
        if kind == "mkdir" and os.path.lexists(args[0]):
            return
        if name is not None and not_events(name):
            self.seen[kind] += 1

    def counted(self) -> Counter:
        """The same changes as the disk recorded them."""
        counts: Counter = Counter()
        for call in self.disk.calls:
            if not not_events(call.path):
                continue
            if call.kind in ("open", "create"):
                counts["read" if call.more == "r" else "write"] += 1
            elif call.kind in EVENTS.values():
                counts[call.kind] += 1
        return counts
