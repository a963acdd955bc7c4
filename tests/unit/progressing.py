"""Takes note of what is told of the progress of an operation."""

import contextlib
from collections.abc import Iterator

from tunproxy.progress import Progress


class Shown:
    """Stands in for ``showing``."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.quiet: list[bool] = []

    @contextlib.contextmanager
    def __call__(
        self, words: str, total: float | None = None, *, is_quiet: bool = False
    ) -> Iterator[Progress]:
        outer = self
        self.words.append(words)
        self.quiet.append(is_quiet)

        class Noted(Progress):
            def begins(self, words: str, total: float | None = None) -> None:
                outer.words.append(words)
                super().begins(words, total)

        yield Noted(words, total)
