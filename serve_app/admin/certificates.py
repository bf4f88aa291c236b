"""The command `make-certificate`, for trying signed C2PA manifests without a certificate authority."""

import datetime
import os
from pathlib import Path
from typing import Annotated

import typer

from serve_app.admin.errors import CommandError
from serve_app.admin.parser import add_command

CERTIFICATE, PRIVATE_KEY = "certificate.pem", "private_key.pem"
"""Names of the files that the command writes."""
_DAYS = 365
_ORGANIZATION = "acestep-serve development"


def add_commands(app: typer.Typer) -> None:
    """Add `make-certificate`."""
    add_command(
        app,
        "make-certificate",
        _make_certificate,
        help="make a development certificate for signed songs",
        description="Write a certificate, which an authority of its own has issued, and its private key into "
        "a folder, for provenance.certificate and provenance.private_key. Readers of C2PA find that nothing "
        "was changed in the songs, but do not trust the signer: for that, a certificate from the C2PA trust "
        "list is needed (docs/provenance.md).",
    )


def _make_certificate(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to write them; it is made if needed.")
    ],
    name: Annotated[str, typer.Option("--name", help="Common name of the signer.")] = "acestep-serve",
) -> int:
    certificate, key = folder / CERTIFICATE, folder / PRIVATE_KEY
    try:
        certificates, private_key = development_certificate(name)
    except ImportError as error:
        raise CommandError("the extra `signing` is not installed") from error
    except ValueError as error:
        raise CommandError(f"--name: {error}") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_new(key, private_key, 0o600)
        _write_new(certificate, certificates, 0o644)
    except FileExistsError as error:
        raise CommandError(f"{error.filename} is already there") from error
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error
    print(f"provenance:\n  certificate: {certificate.resolve()}\n  private_key: {key.resolve()}")
    return 0


def _write_new(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def development_certificate(name: str, begins: datetime.datetime | None = None) -> tuple[bytes, bytes]:
    """A certificate for a signer of this name with the authority that has issued it, and its private key.

    Both are PEM. The certificate is valid for a year from `begins` on, which is now if it is None. C2PA takes
    no certificate that has issued itself, so there is an authority, whose key is thrown away. Raises
    ImportError, and ValueError for a name that cannot be in a certificate.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    first = begins or datetime.datetime.now(datetime.UTC)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def named(common_name: str) -> x509.Name:
        attributes = {NameOID.ORGANIZATION_NAME: _ORGANIZATION, NameOID.COMMON_NAME: common_name}
        return x509.Name([x509.NameAttribute(kind, text) for kind, text in attributes.items()])

    def usage(signs_songs: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=signs_songs,
            key_cert_sign=not signs_songs,
            crl_sign=not signs_songs,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )

    def certificate(owner: str, of: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(named(owner))
            .issuer_name(named("Authority"))
            .public_key(of.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(first)
            .not_valid_after(first + datetime.timedelta(days=_DAYS))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(of.public_key()), critical=False)
        )

    authority = (
        certificate("Authority", authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs_songs=False), critical=True)
    )
    signer = (
        certificate(name, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs_songs=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
    )
    chain = [builder.sign(authority_key, hashes.SHA256()) for builder in (signer, authority)]
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in chain)
    return pem, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
