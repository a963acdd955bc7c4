"""What streams and datagrams are turned into on their way: compressed, encrypted. Formats only, no I/O.

Promises
    Both ends use the same classes: plugins on our side of the wire, ``relay`` on the other. What is a
    published format can be read by its own programs. Whatever arrives, time and memory are bounded: a call
    returns ``MOST_DECODED`` octets or little more, and what is wrong raises ``CodecError``, also an end in
    the wrong place. Only ``dictionary`` reads a file.

Vocabulary
    pack, store     compress octets; or pass them on as they are, in the format's own words
    wish            a codec that one end would like, by its name
    secret          what nobody may learn from the length of what is packed

Compression
    ``packing`` says what a format can do, ``zstd`` and ``gzip`` do it, ``library`` is Zstandard's, and a
    ``dictionary`` what it knows beforehand. ``entropy`` finds out whether a flow shrinks, ``exposure``
    whether it has secrets; ``adaptive`` puts these together into a ``Codec``, and in ``named`` two ends agree
    on one.

Shadowsocks
    ``shadowsocks_keys`` come from a password. ``shadowsocks_stream`` is the client's ``Codec`` of a TCP
    stream, ``shadowsocks_server`` the other end's, both made of ``shadowsocks_chunks``. Datagrams are in
    ``shadowsocks_packet`` and ``shadowsocks_packet_server``, with ``shadowsocks_boxes``; the packet path has
    ``shadowsocks_seal``. ``shadowsocks_replay`` knows what has been seen before, ``shadowsocks_sessions``
    which process of a server has a session, ``shadowsocks_address`` how a target is written. ``xchacha`` is
    a cipher that the library lacks.
    ``capsules`` are datagrams in a stream.
"""
