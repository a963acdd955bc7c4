"""What goes wrong with TLS, for people: what the server did, and what may be done about it."""

import ssl
from typing import Final

# OpenSSL's words for what arrived and was no TLS (RFC 8446 §5.1): a version, a type or a length that is none
_NO_TLS: Final = frozenset(
    {
        "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST",
        "PACKET_LENGTH_TOO_LONG", "ENCRYPTED_LENGTH_TOO_LONG", "DATA_LENGTH_TOO_LONG", "BAD_RECORD_TYPE",
        "RECORD_TOO_SMALL", "RECORD_LENGTH_MISMATCH", "INVALID_RECORD_TYPE",
    }
)  # fmt: skip

# X509_V_ERR_…
_NOT_YET, _EXPIRED, _NAME, _ADDRESS = 9, 10, 62, 64
_UNTRUSTED: Final = frozenset({2, 18, 19, 20, 21, 27})

_VERIFIED: Final = {
    _NOT_YET: "is this machine's clock right?",
    _EXPIRED: "the server needs a new one, unless this machine's clock is wrong",
    _NAME: "server_name says whom it must be for",
    _ADDRESS: "server_name says whom it must be for",
}

_OTHER_VERSION: Final = "it has no version of TLS that we take (min-version says from which one on)"
_WANTS_CERTIFICATE: Final = "it wants a certificate of ours (certificate-file and key-file)"
_REASONS: Final = {
    "TLSV1_ALERT_PROTOCOL_VERSION": _OTHER_VERSION,
    "UNSUPPORTED_PROTOCOL": _OTHER_VERSION,
    "VERSION_TOO_LOW": _OTHER_VERSION,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTS_CERTIFICATE,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "it takes none of what we offer, or wants a certificate of ours (certificate-file and key-file)"
    ),
    "SSLV3_ALERT_NO_CERTIFICATE": _WANTS_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know who signed our certificate (certificate-file)",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept our certificate (certificate-file)",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it does not accept our kind of certificate (certificate-file)",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it says that our certificate is revoked (certificate-file)",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that our certificate has expired (certificate-file)",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not accept our certificate (certificate-file)",
    "TLSV1_ALERT_ACCESS_DENIED": "it does not let our certificate in (certificate-file)",
    "TLSV1_UNRECOGNIZED_NAME": "it knows nobody of that name (server_name says whom we ask for)",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "it speaks none of our protocols (alpn)",
    "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY": "it does not know this psk-identity",
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": "what arrived was altered on the way",
    "SSLV3_ALERT_BAD_RECORD_MAC": "what it got from us was altered on the way",
    "TLSV1_ALERT_DECRYPT_ERROR": "it cannot check what we sent (is psk or key-file the right one?)",
    "UNEXPECTED_EOF_WHILE_READING": "it hung up in the middle of the TLS handshake",
}  # fmt: skip


def speaks_none(error: BaseException) -> bool:
    """Tell whether what the server said in the handshake was no TLS at all."""
    return isinstance(error, ssl.SSLError) and getattr(error, "reason", "") in _NO_TLS


def tls_words(error: ssl.SSLError) -> str:
    """Return what an error of the TLS library is, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        code = getattr(error, "verify_code", 0)
        hint = "pin or ca_file says what is trusted" if code in _UNTRUSTED else _VERIFIED.get(code, "")
        hint = hint or "ca_file and server_name say what is trusted"
        return f"its certificate cannot be trusted: {why} ({hint})"
    if speaks_none(error):
        return "it speaks no TLS: what it said is something else (is the port right?)"
    reason = getattr(error, "reason", "") or ""
    known = _REASONS.get(reason)
    if known is not None:
        return f"no TLS with it: {known}"
    return f"no TLS with it: {(reason or str(error)).replace('_', ' ').lower()}"
