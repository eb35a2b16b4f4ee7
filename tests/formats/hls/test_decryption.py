"""Segments are decrypted as they arrive, and what was not encrypted as it should be is noticed."""

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.hls.decryption import Decryption, NotDecryptable, sequence_iv, unusable
from streamproxy.formats.hls.model import Key

SECRET, IV = bytes(range(16)), bytes(range(100, 116))


def encrypted(plain: bytes, *, padding: bytes | None = None) -> bytes:
    missing = 16 - len(plain) % 16
    encryptor = Cipher(AES128(SECRET), CBC(IV)).encryptor()
    return encryptor.update(plain + (bytes([missing]) * missing if padding is None else padding))


def decrypted(data: bytes, *sizes: int) -> bytes:
    decryption, plain = Decryption(SECRET, IV), b""
    for size in sizes:
        plain += decryption.feed(data[:size])
        data = data[size:]
    return plain + decryption.feed(data) + decryption.finish()


@given(st.binary(max_size=200), st.lists(st.integers(0, 40), max_size=10))
def test_what_was_encrypted_comes_out_however_the_network_cuts_it(plain: bytes, sizes: list[int]) -> None:
    assert decrypted(encrypted(plain), *sizes) == plain


def test_only_the_last_block_is_held_back() -> None:
    decryption = Decryption(SECRET, IV)
    assert decryption.feed(encrypted(bytes(160))[:160]) == bytes(144)


@pytest.mark.parametrize("size", [0, 1, 15, 17, 33])
def test_bytes_that_are_no_whole_blocks_are_refused(size: int) -> None:
    with pytest.raises(NotDecryptable, match="whole blocks"):
        decrypted((encrypted(bytes(64)) * 2)[:size])


@pytest.mark.parametrize(
    "padding", [b"\0" * 16, b"\x11" * 16, b"\xff" * 16, b"\3" * 14 + b"\2\3", b"\1\2" * 7 + b"\2\4"]
)
def test_wrong_padding_is_refused(padding: bytes) -> None:
    with pytest.raises(NotDecryptable, match="padding"):
        decrypted(encrypted(bytes(32), padding=padding))


@pytest.mark.parametrize("size", [0, 3, 15, 17, 24, 32])
def test_a_key_of_another_size_is_refused_and_not_shown(size: int) -> None:
    with pytest.raises(NotDecryptable, match=f"{size} bytes instead of 16"):
        Decryption(b"k" * size, IV)


def test_without_an_initialization_vector_the_number_is_one() -> None:
    assert sequence_iv(0x0102) == bytes(14) + b"\1\2"
    assert len(sequence_iv(10**18)) == 16


@pytest.mark.parametrize(
    ("key", "usable"),
    [
        (Key("AES-128", "http://k/"), True),
        (Key("SAMPLE-AES", "http://k/"), False),
        (Key("AES-256-GCM", "http://k/"), False),
        (Key("UNKNOWN", "http://k/"), False),
        (Key("AES-128", "http://k/", key_format="com.apple.streamingkeydelivery"), False),
    ],
)
def test_only_what_needs_no_licence_is_decrypted(key: Key, usable: bool) -> None:
    assert (not unusable(key)) is usable
