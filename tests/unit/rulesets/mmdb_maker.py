"""A small MaxMind database, made octet by octet as the format's specification has it."""

import ipaddress

# Types of the numbers in metadata: 5 has 16 bits, 6 has 32, 9 has 64.
NUMBERS = {
    "record_size": 5,
    "ip_version": 5,
    "binary_format_major_version": 5,
    "binary_format_minor_version": 5,
    "build_epoch": 9,
}


def make_mmdb(records: dict[str, object], kind: str, *, version: int = 6, bits: int = 28) -> bytes:
    """Return a database in which each prefix of records, written for IP version `version`, has its record."""
    nodes: list[list[int | tuple[int]]] = [[-1, -1]]
    data = b""
    width = 128 if version == 6 else 32
    for prefix, record in records.items():
        network = ipaddress.ip_network(prefix)
        length = network.prefixlen + (96 if version == 6 and network.version == 4 else 0)
        place = (len(data),)
        data += encode(record)
        number = int(network.network_address)
        at = 0
        for depth in range(length):
            bit = number >> (width - 1 - depth) & 1
            if depth == length - 1:
                nodes[at][bit] = place
                break
            step = nodes[at][bit]
            if not isinstance(step, int) or step < 0:
                nodes.append([-1, -1])
                step = nodes[at][bit] = len(nodes) - 1
            at = step
    count = len(nodes)
    tree = b""
    for pair in nodes:
        left, right = (
            count if step == -1 else step if isinstance(step, int) else count + 16 + step[0] for step in pair
        )
        if bits == 28:
            middle = left >> 24 << 4 | right >> 24
            tree += (
                (left & 0xFFFFFF).to_bytes(3, "big") + bytes([middle]) + (right & 0xFFFFFF).to_bytes(3, "big")
            )
        else:
            tree += left.to_bytes(bits // 8, "big") + right.to_bytes(bits // 8, "big")
    about = {
        "node_count": count,
        "record_size": bits,
        "ip_version": version,
        "database_type": kind,
        "languages": [],
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1,
        "description": {},
    }
    return tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + encode(about)


def encode(value: object, key: str = "") -> bytes:
    """Return a value in the format's own encoding; all sizes here are below 29."""
    if isinstance(value, str):
        return bytes([2 << 5 | len(value)]) + value.encode()
    if isinstance(value, int):
        octets = value.to_bytes((value.bit_length() + 7) // 8, "big")
        kind = NUMBERS.get(key, 6)
        return (bytes([kind << 5 | len(octets)]) if kind < 8 else bytes([len(octets), kind - 7])) + octets
    if isinstance(value, dict):
        return bytes([7 << 5 | len(value)]) + b"".join(
            encode(key) + encode(item, key) for key, item in value.items()
        )
    assert isinstance(value, list)
    return bytes([len(value), 11 - 7]) + b"".join(map(encode, value))
