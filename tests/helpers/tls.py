"""Upstreams that speak TLS, with certificates that are made as they are needed."""

import datetime
import ipaddress
import ssl
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.helpers.origin import Origin, Script, origin


def certify(file: Path) -> Path:
    """Make a certificate for 127.0.0.1 that vouches for itself, and write it to a file together with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an upstream of a test")])
    address = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return file


def showing(certificate: Path) -> ssl.SSLContext:
    """Let a server show a certificate: a file with it, and with its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def tls_origin(script: Script, certificate: Path) -> AbstractAsyncContextManager[Origin]:
    """Run an upstream that speaks TLS.

    Args:
        script: See `origin`.
        certificate: See `showing`.
    """
    return origin(script, context=showing(certificate))
