"""Rule-set files: what other programs keep lists of names, addresses and conditions in, read and written.

Promises
    A reader takes the octets of a file and returns a ``RuleSetContent``, or raises ``RuleError`` where the
    file as a whole cannot be read. A bad line or item is left out and noted with its position and the reason.
    Whatever the octets are, time and memory are bounded: what a compressed file may unpack to is limited
    (``unpack``), and so are depths and lengths (``octets``, ``louds``).

Vocabulary
    item        one line or entry of a set
    behavior    what the items of a Clash rule provider are: domain, ipcidr or classical
    name        what a message calls the file; readers open nothing

Theory of operation
    ``items`` understands single items, ``notes`` collects what was skipped, ``lines`` cuts text. On these
    stand ``clash_text``, ``clash_yaml``, ``hosts`` and ``adguard``. ``octets``, ``unpack``, ``louds`` and
    ``protobuf`` read binary data for ``mrs``, ``srs``, ``geosite`` and ``geoip``; ``mmdb`` asks maxminddb. A
    sing-box rule is the same dictionary whether it comes from ``sing_json`` or ``srs``; ``sing_rule`` makes
    conditions of it. Names of ``mrs`` stay packed, and ``unfold`` lists them. ``files`` is the one that opens
    files and finds out what is in them.
    ``write_clash`` and ``write_sing`` write sets for others; ``convert`` turns whole configurations into
    rule lines.
"""
