"""What a resolver answers, read with dnspython and reduced to what was asked.

A response is believed about the question and nothing else: of the answers those along the chain of aliases
stay, of the rest what proves that something does not exist. Additional records go, and with them every way
to have us remember what nobody asked (RFC 5452 §6).
"""

from socket import AF_INET, AF_INET6, inet_pton
from typing import Final

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdtypes.svcbbase import ParamKey

from tunproxy.dns.message import (
    AAAA,
    AD,
    HEADER_LEN,
    HTTPS,
    MAX_MESSAGE,
    NOERROR,
    NXDOMAIN,
    SVCB,
    A,
    Answer,
    Question,
    ttls_in,
)
from tunproxy.dns.packing import pack_option, pack_query, pack_reply
from tunproxy.errors import UpstreamError

_MOST_NEGATIVE: Final = 10_800  # seconds: RFC 2308 §5 asks for one to three hours at most
_MAX_ALIASES: Final = 16  # our choice, more than anybody's resolver follows
_HINTS: Final = (ParamKey.IPV4HINT, ParamKey.IPV6HINT)
_PROOFS: Final = frozenset(
    (dns.rdatatype.SOA, dns.rdatatype.NSEC, dns.rdatatype.NSEC3, dns.rdatatype.RRSIG, dns.rdatatype.DS)
)
_PADDING: Final = 128  # octets: RFC 8467 §4.1


class GarbageError(UpstreamError):
    """A resolver sent what is no answer to what it was asked."""


def make_query(
    question: Question, ident: int, *, edns: bool = True, pad: bool = False, subnet: str = ""
) -> bytes:
    """Return a query of our own for question: of the asker's EDNS only the wish for signatures is left.

    With pad its length tells little, for ways that nobody can read. subnet is what the resolver may tell
    the name's servers about us (RFC 7871), usually nothing.
    """
    options = b""
    if edns and subnet:
        address, _, length = subnet.partition("/")
        found = dns.edns.ECSOption(address, int(length) if length else None)
        options = pack_option(found.otype, found.to_wire() or b"")
    return pack_query(question, ident, edns=edns, options=options, block=_PADDING if pad else 1)


def is_truncated(wire: bytes) -> bool:
    """Tell whether a response lacks what did not fit into it (RFC 2181 §9)."""
    return len(wire) > 2 and wire[2] & 0x02 != 0


def read_answer(question: Question, wire: bytes, *, without_hints: bool = False) -> Answer:
    """Return what a resolver's response says about question; raises GarbageError.

    without_hints takes the addresses out of SVCB and HTTPS records, so that clients ask for them.
    """
    try:
        message = dns.message.from_wire(wire)
        return _reduce(question, message, without_hints)
    except GarbageError:
        raise
    except (dns.exception.DNSException, ValueError, KeyError, IndexError, OverflowError) as error:
        why = str(error) or type(error).__name__
        raise GarbageError(f"{len(wire)} octets that are no DNS message: {why}") from error


def alias_answer(question: Question, ttl: int, target: Question, answer: Answer) -> Answer:
    """Return what question is answered with where its name is an alias of target's, which has answer."""
    inner = dns.message.from_wire(pack_reply(target, answer, 0, True))
    name, target_name = (dns.name.from_wire(each.asked, 0)[0] for each in (question, target))
    alias = dns.rrset.from_text(name, ttl, dns.rdataclass.IN, dns.rdatatype.CNAME, target_name.to_text())
    whole = dns.message.QueryMessage(0)
    whole.flags = inner.flags
    whole.set_rcode(inner.rcode())
    whole.question = [_asked(question, name)]
    whole.answer = [alias, *inner.answer]
    whole.authority = inner.authority
    return _packed(question, whole, min(ttl, answer.lifetime), answer.addresses)


def _reduce(question: Question, message: dns.message.Message, without_hints: bool) -> Answer:
    rcode = int(message.rcode())
    name = dns.name.from_wire(question.asked, 0)[0]
    if not message.flags & dns.flags.QR or message.opcode() != dns.opcode.QUERY:
        raise GarbageError("what it sent is no response")
    if message.question:
        [asked, *more] = message.question
        if more or asked.name != name or asked.rdtype != question.type or asked.rdclass != question.klass:
            raise GarbageError(f"it answered another question, {asked.to_text()}")
    elif rcode == NOERROR:
        raise GarbageError("it answered no question")
    if rcode != NOERROR and rcode != NXDOMAIN:
        return Answer(rcode)
    answered, proving = (
        [rrset for rrset in section if rrset.rdclass == question.klass]
        for section in (message.answer, message.authority)
    )
    chain = _chain_of(name, answered)
    answers = [_reduced(rrset, without_hints) for rrset in answered if _is_in(rrset, chain)]
    final = [rrset for rrset in answers if rrset.name == chain[-1] and rrset.rdtype == question.type]
    proofs = [rrset for rrset in proving if rrset.rdtype in _PROOFS] if not final else []
    lifetime = min((rrset.ttl for rrset in answers), default=_MOST_NEGATIVE)
    if not final:
        soa = next((each for each in proofs if _is_soa_of(each, chain[-1])), None)
        if soa is None:
            lifetime = 0  # RFC 2308 §5: nobody said how long
        else:
            lifetime = min(lifetime, soa.ttl, soa[0].minimum)
            soa.ttl = lifetime
    reduced = dns.message.QueryMessage(0)
    reduced.flags = dns.flags.Flag(dns.flags.QR)
    reduced.question = [_asked(question, name)]
    reduced.answer = answers
    reduced.authority = proofs
    reduced.set_rcode(message.rcode())
    reduced.flags |= message.flags & AD
    return _packed(question, reduced, lifetime, _addresses_in(final))


def _packed(
    question: Question, message: dns.message.Message, lifetime: int, addresses: tuple[bytes, ...]
) -> Answer:
    packed = message.to_wire(max_size=MAX_MESSAGE)
    records = packed[HEADER_LEN + len(question.asked) :]
    answers, authority = int.from_bytes(packed[6:8], "big"), int.from_bytes(packed[8:10], "big")
    return Answer(
        int(message.rcode()),
        records,
        (answers, authority, 0),
        flags=int(message.flags) & AD,
        ttls=ttls_in(records, 0, answers + authority),
        lifetime=lifetime,
        addresses=addresses,
    )


def _asked(question: Question, name: dns.name.Name) -> dns.rrset.RRset:
    kind = dns.rdatatype.RdataType.make(question.type)
    return dns.rrset.RRset(name, dns.rdataclass.RdataClass.make(question.klass), kind)


def _chain_of(name: dns.name.Name, answers: list[dns.rrset.RRset]) -> list[dns.name.Name]:
    """Return name, and what it is an alias of, and so on."""
    aliases = {rrset.name: rrset[0].target for rrset in answers if rrset.rdtype == dns.rdatatype.CNAME}
    chain = [name]
    while chain[-1] in aliases:
        following = aliases[chain[-1]]
        if following in chain or len(chain) > _MAX_ALIASES:
            raise GarbageError(f"its aliases for {name} lead nowhere")
        chain.append(following)
    return chain


def _is_in(rrset: dns.rrset.RRset, chain: list[dns.name.Name]) -> bool:
    """Tell whether an answer is about a name in chain; a DNAME is, which explains an alias (RFC 6672)."""
    if rrset.name in chain:
        return True
    kind = rrset.covers if rrset.rdtype == dns.rdatatype.RRSIG else rrset.rdtype
    return kind == dns.rdatatype.DNAME and any(name.is_subdomain(rrset.name) for name in chain)


def _is_soa_of(rrset: dns.rrset.RRset, name: dns.name.Name) -> bool:
    return rrset.rdtype == dns.rdatatype.SOA and name.is_subdomain(rrset.name) and len(rrset) > 0


def _reduced(rrset: dns.rrset.RRset, without_hints: bool) -> dns.rrset.RRset:
    """Return rrset, of SVCB and HTTPS without the addresses if need be (RFC 9460 §7.3)."""
    if not without_hints or rrset.rdtype not in (SVCB, HTTPS):
        return rrset
    found = dns.rrset.RRset(rrset.name, rrset.rdclass, rrset.rdtype)
    for record in rrset:
        params = {key: value for key, value in record.params.items() if key not in _HINTS}
        needed = params.get(ParamKey.MANDATORY)
        if needed is not None:
            left = [key for key in needed.keys if key not in _HINTS]
            if left:
                params[ParamKey.MANDATORY] = type(needed)(left)
            else:
                del params[ParamKey.MANDATORY]
        found.add(record.replace(params=params), rrset.ttl)
    return found


def _addresses_in(rrsets: list[dns.rrset.RRset]) -> tuple[bytes, ...]:
    """Return the packed addresses that a client may connect to because of these answers."""
    found: list[str] = []
    for rrset in rrsets:
        for record in rrset:
            if rrset.rdtype in (A, AAAA):
                found.append(record.address)
            elif rrset.rdtype in (SVCB, HTTPS):
                for key in _HINTS:
                    if key in record.params:
                        found += record.params[key].addresses
    return tuple(inet_pton(AF_INET6 if ":" in each else AF_INET, each) for each in dict.fromkeys(found))
