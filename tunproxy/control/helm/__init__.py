"""What a worker tells those who look on, and does for those who command: the worker's side of control/clash.

Promises
    Nothing here costs the packet path anything before somebody asks, and then little: of thousands of flows
    only what is new is put into words. Answers are documents in our own words, which the supervisor turns
    into whatever a client speaks. Whoever asks is the supervisor, who has checked who may.

Vocabulary
    way      an upstream or a group, as people may choose it
    choice   the member of a group that somebody has chosen
    mode     whether rules decide, or everything goes direct, or one way
    errand   what takes longer than a question may; its result is fetched later

Theory of operation
    ``Helm`` in ``answers`` puts together what answers the supervisor's questions, by name. ``ways`` lists
    ways and takes choices, ``modes`` has the mode in force, ``probing`` tests ways; ``rule_list`` tells of
    rules and their hits, ``flow_feed`` of flows, ``owner_search`` whose these are, ``log_ring`` what was
    logged. ``errands`` runs what has to be waited for: tests, and questions to resolvers (``name_desk``).
"""
