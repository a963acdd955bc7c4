"""Everything to test a plugin with: ``from tunproxy.testing import PluginRunner, make_flow``."""

from tunproxy.plugin.records import FlowClosed, FlowOpened
from tunproxy.testkit.flows import make_facts, make_flow
from tunproxy.testkit.network import SimulatedNetwork
from tunproxy.testkit.runner import PluginFault, PluginRunner
from tunproxy.testkit.script import Script
from tunproxy.testkit.virtual import Stuck, VirtualClock, VirtualLoop

__all__ = [
    "FlowClosed",
    "FlowOpened",
    "PluginFault",
    "PluginRunner",
    "Script",
    "SimulatedNetwork",
    "Stuck",
    "VirtualClock",
    "VirtualLoop",
    "make_facts",
    "make_flow",
]
