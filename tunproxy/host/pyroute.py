"""The parts of pyroute2 that we use, without all others, which it would load first: a third of our imports.

Its package begins by importing all that it has. So its module is put into its place before it has begun, and
begins when somebody asks it for something that is not there: nobody else notices. What every start needs of
it is imported here.
"""

import importlib.util
import sys
from types import ModuleType
from typing import Any, Final  # Any: pyroute2 has no types

_NAME: Final = "pyroute2"


class _NotBegun(ModuleType):
    """A package whose own code has not run; its submodules can be imported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__dict__.get("_is_passed_by"):
            raise AttributeError(f"module {_NAME!r} has no attribute {name!r}")
        self.__class__ = ModuleType  # type: ignore[assignment]
        self.__spec__.loader.exec_module(self)  # type: ignore[union-attr]
        return getattr(self, name)


def _pass_by() -> ModuleType | None:
    """Put the package into its place; None where it is there already, or is no package in a folder."""
    spec = None if _NAME in sys.modules else importlib.util.find_spec(_NAME)
    if spec is None or spec.loader is None or not spec.submodule_search_locations:
        return None
    package = importlib.util.module_from_spec(spec)
    package.__class__ = _NotBegun
    package.__dict__["_is_passed_by"] = True  # submodules import each other by the package's name
    sys.modules[_NAME] = package
    return package


_package: Final = _pass_by()
try:
    from pyroute2.iproute.linux import IPRoute as IPRoute  # type: ignore[import-untyped]
    from pyroute2.netlink import NLM_F_ACK as NLM_F_ACK  # type: ignore[import-untyped]
    from pyroute2.netlink import NLM_F_REQUEST as NLM_F_REQUEST
    from pyroute2.netlink.exceptions import NetlinkError as NetlinkError  # type: ignore[import-untyped]
    from pyroute2.netlink.rtnl import RTM_GETROUTE as RTM_GETROUTE  # type: ignore[import-untyped]
    from pyroute2.netlink.rtnl.rtmsg import rtmsg as rtmsg  # type: ignore[import-untyped]
finally:
    if _package is not None:
        del _package.__dict__["_is_passed_by"]
