"""Names: questions to the resolvers, as JSON and as DNS over HTTPS, and caches to flush.

Answers are real addresses, also where programs get fake ones.
"""

import base64
import binascii
from typing import Any, Final  # Any: documents

from aiohttp import web

from tunproxy.control.clash.asking import Asking, RefusedError
from tunproxy.control.clash.refusals import Refusal, answer, body_invalid, done
from tunproxy.control.questions import NoAnswerError

PATIENCE: Final = 12.0  # seconds: resolvers have eight
MAX_QUERY: Final = 4096  # octets
MESSAGE: Final = "application/dns-message"  # RFC 8484 §6


class Names:
    """Handlers."""

    def __init__(self, asking: Asking) -> None:
        self._asking: Final = asking

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/dns/query", self._query)
        router.add_get("/doh", self._doh)
        router.add_post("/doh", self._doh)
        router.add_post("/cache/fakeip/flush", self._flush_fakes)
        router.add_post("/cache/dns/flush", self._flush_answers)

    async def _query(self, request: web.Request) -> web.Response:
        import dns.exception
        import dns.message
        import dns.rdatatype

        name, kind = request.query.get("name", ""), request.query.get("type") or "A"
        if not name:
            raise body_invalid()
        try:
            if not kind.isascii() or dns.rdatatype.is_metatype(dns.rdatatype.from_text(kind)):
                raise ValueError(kind)
            query = dns.message.make_query(name, kind, use_edns=0)
        except (dns.exception.DNSException, ValueError, UnicodeError):
            raise Refusal(400, "invalid query type or name") from None
        reply = await self._ask(query.to_wire())
        try:
            found = dns.message.from_wire(reply)
        except (dns.exception.DNSException, ValueError) as error:
            raise Refusal(500, f"all DNS requests failed, first error: {error}") from error
        if found.rcode() == dns.rcode.SERVFAIL:
            whys = [str(option) for option in found.options] or ["the resolvers do not answer"]
            raise Refusal(500, f"all DNS requests failed, first error: {'; '.join(whys)}")
        return answer(_document(found))

    async def _doh(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            query = await request.read()
        else:
            text = request.query.get("dns", "")
            try:
                query = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            except (binascii.Error, ValueError):
                raise body_invalid() from None
        if not 12 <= len(query) <= MAX_QUERY:
            raise body_invalid()
        return web.Response(body=await self._ask(query), content_type=MESSAGE)

    async def _ask(self, query: bytes) -> bytes:
        try:
            found = await self._asking.errand("helm-query", {"query": query.hex()}, PATIENCE)
            reply = bytes.fromhex(found["reply"])
        except (RefusedError, NoAnswerError) as error:
            raise Refusal(500, f"all DNS requests failed, first error: {error}") from error
        if not reply:
            raise body_invalid()
        return reply

    async def _flush_fakes(self, request: web.Request) -> web.Response:
        # the first worker hands them out; what the others know of them they keep, until it is told anew
        await self._asking.first("helm-flush", {"what": "fake-ip"})
        return done()

    async def _flush_answers(self, request: web.Request) -> web.Response:
        await self._asking.each("helm-flush", {"what": "answers"})
        return done()


def _document(message: Any) -> dict[str, Any]:
    """Return a message of dnspython's as Clash shows it."""
    import dns.flags

    flags = {name: bool(message.flags & getattr(dns.flags, name)) for name in ("TC", "RD", "RA", "AD", "CD")}
    document: dict[str, Any] = {"Status": int(message.rcode()), **flags}
    document["Question"] = [
        {"Name": str(each.name), "Qtype": int(each.rdtype), "Qclass": int(each.rdclass)}
        for each in message.question
    ]
    for key, section in (
        ("Answer", message.answer),
        ("Authority", message.authority),
        ("Additional", message.additional),
    ):
        records = [
            {"name": str(each.name), "type": int(each.rdtype), "TTL": int(each.ttl), "data": str(data)}
            for each in section
            for data in each
        ]
        if records:
            document[key] = records
    return document
