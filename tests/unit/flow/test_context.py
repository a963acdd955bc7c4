"""What the flows of one stack share."""

import contextlib

from tests.unit.flow.rig import Client, Rig, connected, listening


def test_contexts_of_two_stacks_share_nothing() -> None:
    with connected() as (rig, _, _target), contextlib.closing(Rig()) as other:
        assert (len(rig.table), len(other.table)) == (1, 0)
        ours, theirs = rig.table._context, other.table._context
        assert (ours.live, theirs.live) == (1, 0)
        assert ours.budget is not theirs.budget


def test_flow_is_an_embryo_until_the_client_acknowledges() -> None:
    with listening() as (rig, _):
        client = Client(rig)
        client.syn()
        rig.until(lambda: client.received)
        context = rig.table._context
        assert list(context.embryos) == list(context.flows)
        client.send(b"x")
        assert (len(context.embryos), len(context.flows)) == (0, 1)
