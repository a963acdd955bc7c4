"""Resolvers that are functions, those of plugins, in the place of a way to a resolver."""

import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from tunproxy.dns.transport import Transport

Lookup = Callable[[str], Awaitable[Sequence[str]]]  # a name to its addresses, none for no such name
Lookups = Mapping[str, Lookup]

TTL: Final = 60  # seconds, our choice: plugins have no say in it


class LookupTransport(Transport):
    """Answers queries by what a function finds; raises the OSError that it does.

    The function knows addresses only: of a name, every other type of record has nothing.
    """

    is_private = True

    def __init__(self, lookup: Lookup) -> None:
        self._lookup: Final = lookup

    async def exchange(self, query: bytes) -> bytes:
        asked = dns.message.from_wire(query)
        reply = dns.message.make_response(asked, recursion_available=True)
        question = asked.question[0]
        if question.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            version = 4 if question.rdtype == dns.rdatatype.A else 6
            found = await self._lookup(question.name.to_text(omit_final_dot=True).lower())
            if not found:
                reply.set_rcode(dns.rcode.NXDOMAIN)
            texts = [text for text in found if ipaddress.ip_address(text).version == version]
            if texts:
                kind = dns.rdatatype.to_text(question.rdtype)
                reply.answer.append(dns.rrset.from_text(question.name, TTL, "IN", kind, *texts))
        return reply.to_wire()
