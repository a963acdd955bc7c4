"""One plugin's implementation of one hook, ready to be called."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Hook:
    """name is the hook's; arguments names those that the function wants; options are the plugin's own."""

    plugin: str
    function: Callable[..., object]
    arguments: tuple[str, ...]
    name: str = ""
    options: object = None
    is_async: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_async", inspect.iscoroutinefunction(self.function))

    def __call__(self, offered: Mapping[str, object]) -> object:
        """Call it with those of the offered arguments that it wants."""
        return self.function(
            *[self.options if name == "options" else offered[name] for name in self.arguments]
        )
