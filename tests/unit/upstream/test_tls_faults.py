"""What goes wrong with TLS, in words."""

import ssl

import pytest

from tunproxy.upstream.tls_faults import speaks_none, tls_words


def fault(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] {reason.lower()} (_ssl.c:1006)")
    error.reason = reason
    return error


def untrusted(code: int, message: str) -> ssl.SSLError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (untrusted(10, "certificate has expired"), "certificate has expired (the server needs a new one"),
        (untrusted(9, "certificate is not yet valid"), "(is this machine's clock right?)"),
        (untrusted(62, "Hostname mismatch."), "Hostname mismatch (server_name says whom it must be for)"),
        (untrusted(18, "self-signed certificate"), "(pin or ca_file says what is trusted)"),
        (untrusted(99, "odd"), "odd (ca_file and server_name say what is trusted)"),
        (fault("WRONG_VERSION_NUMBER"), "it speaks no TLS"),
        (fault("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "it wants a certificate of ours"),
        (fault("TLSV1_ALERT_UNKNOWN_CA"), "it does not know who signed our certificate"),
        (fault("TLSV1_ALERT_PROTOCOL_VERSION"), "no version of TLS that we take"),
        (fault("DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), "altered on the way"),
        (fault("SOMETHING_NEW"), "no TLS with it: something new"),
    ],
)
def test_words_say_what_and_what_to_do(error: ssl.SSLError, words: str) -> None:
    assert words in tls_words(error)
    assert "_ssl.c" not in tls_words(error)


def test_no_tls_is_told_from_bad_tls() -> None:
    assert speaks_none(fault("WRONG_VERSION_NUMBER"))
    assert speaks_none(fault("HTTP_REQUEST"))
    assert not speaks_none(fault("TLSV1_ALERT_UNKNOWN_CA"))
    assert not speaks_none(untrusted(10, "expired"))
    assert not speaks_none(ssl.SSLError(1, "no reason"))
    assert not speaks_none(ConnectionResetError())
