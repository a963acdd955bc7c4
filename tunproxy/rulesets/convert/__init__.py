"""Configurations of other programs as rule lines, with an account of what became of each of their rules.

Promises
    Each converter takes the octets of a file and returns a ``Conversion``; it raises ``RuleError`` only
    where the file as a whole cannot be read. Every rule of the file is in the account once: exact,
    approximated with what is different, or dropped with the reason. Every line in the result is one that
    our rule files take.

Vocabulary
    source      a rule set that rules name, and where it comes from (``Source``)
    outcome     what became of one rule (``Outcome``)

Modules
    ``report`` the result; ``clash`` Clash and mihomo, YAML; ``singbox`` the route part of sing-box, JSON;
    ``surge`` Surge and leaf, .conf; ``acl`` shadowsocks-rust; ``dae`` dae's routing;
    ``proxifier`` Proxifier's .ppx; ``uris`` lists of ``ss://`` and others; ``nodes`` what proxies are to us,
    ``groups`` what groups of them are.
"""
