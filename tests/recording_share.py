"""A share of the cores that records the calls of an engine."""

import threading


class RecordingShare:
    def __init__(self, cores: int = 1) -> None:
        self.cores = cores
        self.said: list[str] = []
        self.released = threading.Event()

    def set_threads(self, beside: int = 0) -> None:
        self.said.append(f"threads beside {beside}" if beside else "threads")

    def set_one_thread(self) -> None:
        self.said.append("one thread")

    def release(self) -> None:
        self.said.append("release")
        self.released.set()
