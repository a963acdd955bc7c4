"""tunproxy.toml: what a user may write, and what becomes of it.

Promises
    A file is taken as a whole or not at all. Everything that is wrong with it is told at once, each with
    file, line and column, the line itself, and what may have been meant. Secrets are shown by nobody.

Vocabulary
    configuration   ``Config``: frozen, typed, and complete where the file is silent
    sources         a configuration together with the contents of every file that it names
    problem         one thing that is wrong, and where

Theory of operation
    ``schema`` has the keys, each with its documentation; ``positions`` finds where each stands in the text.
    ``tables`` checks a table against a struct or a plugin's dataclass and collects ``problems``, whose lines
    ``shown`` has without secrets. ``read`` makes a ``Config`` of a text, with ``secrets`` looked up;
    ``sources`` reads the files, as the user who may; from there on no file is needed. ``sets`` finds
    rule sets by the names that rules use, ``standing`` has the upstreams that are always there, ``building``
    makes everything that a policy consists of.

Reading order
    schema, problems, shown, positions, tables, secrets, read, search, sources, sets, standing, codecs,
    building
"""
