"""A share of the cores that notes what an engine says."""


class RecordingShare:
    def __init__(self) -> None:
        self.said: list[str] = []

    def work(self) -> None:
        self.said.append("work")

    def rest(self) -> None:
        self.said.append("rest")
