"""AES-128 of HLS (RFC 8216bis, 4.4.4.4 and 5.2): resources in CBC with PKCS7 padding, decrypted as they arrive."""

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC

from streamproxy.formats.hls.model import Key

KEY_SIZE = 16
_BLOCK = 16


class NotDecryptable(ValueError):
    """What is there was not encrypted as the playlist says, or not with this key."""


def unusable(key: Key) -> str:
    """Say why nothing can be decrypted that is encrypted this way; empty if it can."""
    if key.method != "AES-128":
        return f"it is encrypted with {key.method}, which only a licensed player can undo"
    if key.key_format != "identity":
        return "its key is one that only a licensed player can get"
    return ""


class Decryption:
    """Decrypts one resource, in pieces of any size. The last block is held back, as it holds the padding."""

    def __init__(self, secret: bytes, iv: bytes) -> None:
        """Begin.

        Args:
            secret: The key, 16 bytes.
            iv: The initialization vector, 16 bytes.

        Raises:
            NotDecryptable: The key is none.
        """
        if len(secret) != KEY_SIZE:
            raise NotDecryptable(f"its key has {len(secret)} bytes instead of {KEY_SIZE}")
        # CBC is what the format prescribes.
        self._decryptor = Cipher(AES128(secret), CBC(iv)).decryptor()
        self._size = 0
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take what came; return what can be told from it."""
        self._size += len(data)
        plain = self._held + self._decryptor.update(data)
        self._held = plain[-_BLOCK:]
        return plain[:-_BLOCK]

    def finish(self) -> bytes:
        """Return the rest, without padding.

        Raises:
            NotDecryptable: It does not end as it should.
        """
        if not self._size or self._size % _BLOCK:
            raise NotDecryptable(f"its {self._size} bytes are not whole blocks of its encryption")
        padding = self._held[-1]
        if not 1 <= padding <= _BLOCK or self._held[-padding:] != bytes([padding]) * padding:
            raise NotDecryptable("its padding is wrong: it was encrypted with another key, or is damaged")
        return self._held[:-padding]


def sequence_iv(sequence: int) -> bytes:
    """Make the initialization vector of a segment whose key has none."""
    return sequence.to_bytes(_BLOCK, "big")
