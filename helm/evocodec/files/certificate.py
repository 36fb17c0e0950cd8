"""Make this pod a certificate for its address, signed by the authority that is mounted here."""

import datetime as dt
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY = Path(os.environ.get("AUTHORITY", "/authority"))
TARGET = Path(os.environ.get("TARGET", "/etc/evocodec/tls"))


def main() -> None:
    """Write ca.crt, tls.crt and tls.key."""
    authority_pem = (AUTHORITY / "tls.crt").read_bytes()
    authority = x509.load_pem_x509_certificate(authority_pem)
    signer = serialization.load_pem_private_key((AUTHORITY / "tls.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    until = min(now + dt.timedelta(days=int(os.environ["DAYS"])), authority.not_valid_after_utc)
    addresses = [os.environ["POD_IP"], "127.0.0.1"]
    names = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    names += [x509.DNSName(name) for name in os.environ["NAMES"].split(",")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evocodec-ray")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .sign(signer, hashes.SHA256())
    )
    (TARGET / "ca.crt").write_bytes(authority_pem)
    (TARGET / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (TARGET / "tls.key").write_bytes(secret)
    (TARGET / "tls.key").chmod(0o400)


if __name__ == "__main__":
    main()
