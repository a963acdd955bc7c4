"""XChaCha20-Poly1305: the draft's examples."""

import pytest
from cryptography.exceptions import InvalidTag

from tunproxy.codecs.xchacha import XChaCha20Poly1305, hchacha20


def test_draft_section_2_2_1_hchacha20() -> None:
    nonce = bytes.fromhex("000000090000004a0000000031415927")
    subkey = "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
    assert hchacha20(bytes(range(32)), nonce).hex() == subkey


# draft-irtf-cfrg-xchacha-03, appendix A.3.1
PLAIN = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it."
)
AAD = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
KEY = bytes(range(0x80, 0xA0))
NONCE = bytes(range(0x40, 0x58))
SEALED = bytes.fromhex(
    "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39"
    "ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
    "21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49"
)


def test_draft_appendix_a_3_1() -> None:
    cipher = XChaCha20Poly1305(KEY)
    assert cipher.encrypt(NONCE, PLAIN, AAD) == SEALED
    assert cipher.decrypt(NONCE, SEALED, AAD) == PLAIN


def test_what_was_changed_is_refused() -> None:
    with pytest.raises(InvalidTag):
        XChaCha20Poly1305(KEY).decrypt(NONCE, SEALED[:-1] + b"\0", AAD)
