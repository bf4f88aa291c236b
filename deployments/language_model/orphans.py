"""Engine processes end with the replica that started them.

vLLM's do not when it is killed, and keep the memory of their GPU. Ray ends what its workers leave behind, but
not when all of a node's Ray was killed.
"""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """End this process, if `multiprocessing` started it, as soon as its parent has ended in whatever way."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
