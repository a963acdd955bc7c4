"""The language of rules: lines that people write become the answer to where a flow goes.

Promises
    The same rules and the same facts give the same answer, compiled or not. Nothing here opens a socket,
    looks at a clock or asks the host; ``files`` reads rule files, and that is all. A mistake in a rule is an
    error with line and column, never a rule that does something else.

Vocabulary
    rule            a condition and a target; rules are asked in order and the first that is met decides
    condition       a kind ("DOMAIN-SUFFIX") and its payload, or AND, OR, NOT of others
    rule set        entries under a name, any of which a flow may meet
    facts           what is known of one flow; needs says what is missing
    indeterminate   cannot be said for want of a fact that may still be found out

Theory of operation
    ``parse`` and ``files`` make the plain data of ``model`` from text, with ``kinds`` to know how each kind
    is written. ``compile_rules`` checks what rules refer to and makes ``CompiledRules``, in which ``policy``
    has indexes (``domains``, ``keywords``, ``ranges``) for the kinds that come in thousands, and one
    ``Matcher`` each, made by ``build``, for the others. A caller asks ``match``, gets a number, NO_MATCH or
    UNDECIDED, finds out what ``Facts`` lack, and asks again.

Reading order
    model, kinds, parse, files; facts, logic, texts; numbers, ranges, domains, keywords, prefixes; sets,
    policy, build, compile; regex_syntax, regexes, expressions; last explain, lint, fmt.
"""
