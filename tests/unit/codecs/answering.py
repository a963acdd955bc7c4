"""A codec of somebody who wants answers and reads none."""

from tunproxy.flow.codec import Codec


class Answering(Codec):
    """Has a great deal to say to whatever arrives."""

    ANSWER = b"!" * 200_000

    def __init__(self) -> None:
        self.heard = 0

    def decode(self, data: bytes) -> bytes:
        self.heard += len(data)
        return b""

    def answer(self) -> bytes:
        return self.ANSWER
