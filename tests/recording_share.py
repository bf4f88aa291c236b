"""A share of the cores that notes what an engine says."""

import threading


class RecordingShare:
    def __init__(self, cores: int = 1) -> None:
        self.cores = cores
        self.said: list[str] = []
        self.rested = threading.Event()

    def work(self, beside: int = 0) -> None:
        self.said.append(f"work, {beside} beside" if beside else "work")

    def work_beside(self) -> None:
        self.said.append("work beside")

    def rest(self) -> None:
        self.said.append("rest")
        self.rested.set()
