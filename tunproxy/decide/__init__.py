"""Decisions: what happens to a new flow, asked once, when it begins.

Promises
    A flow always gets a verdict: what no stage answers gets the default. Where there is no stage at all,
    nothing is asked and a flow pays nothing.

Vocabulary
    stage       something that may have an opinion on a flow, or none; the first opinion wins
    default     the verdict for flows that nobody has an opinion on

Theory of operation
    ``pipeline.build_decider`` makes the ``Decider`` that the packet path asks. Stages are handed in by the
    composition root, so that nothing here knows plugins.
"""
