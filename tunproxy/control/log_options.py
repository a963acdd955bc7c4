"""What the command line and [log] say of lines about what happens, together."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunproxy.logs.levels import USUAL
from tunproxy.logs.setup import AUTO, set_up

if TYPE_CHECKING:
    from tunproxy.control.config.schema import LogConfig


@dataclass(frozen=True)
class LogOptions:
    """What the command line says; "" for what it leaves open."""

    form: str = ""
    level: str = ""

    def set_up(self, config: "LogConfig | None" = None) -> None:
        """Have lines of this process look like that, or as config says where we say nothing."""
        form = self.form or (config.format if config is not None else "")
        level = self.level or (config.level if config is not None else "")
        set_up(form or AUTO, level or USUAL)
