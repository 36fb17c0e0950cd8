"""Ways to an endpoint: proxies, certificates, and variables of the environment."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evocodec.config import load_settings
from evocodec.config_sections import ModelSettings
from evocodec.domain.errors import ConfigError, EndpointUnavailable
from evocodec.domain.vocabulary import ModelRole
from evocodec.keys import is_key, known_keys
from evocodec.models.endpoint import endpoint_for
from evocodec.models.network import is_here, route_to
from evocodec.telemetry.redact import Redactor
from tests.integration.test_model_gateway import bench
from tests.support import scripted_model as scripted


@contextmanager
def listening(socks: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that keeps what it is told first, passes a SOCKS connection on, and else hangs up."""
    told: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    told.append(connection.recv(4096))
                    if socks:
                        _pass_on(connection, told)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}", told
        server.shutdown(socket.SHUT_RDWR)


def _pass_on(connection: socket.socket, told: list[bytes]) -> None:
    """SOCKS 5 (RFC 1928), as much as one request wants."""
    connection.sendall(b"\x05\x00")
    asked = connection.recv(4096)
    told.append(asked)
    connection.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x01")
    told.append(connection.recv(65536))
    body = b'{"choices": [{"message": {"content": "through socks"}, "finish_reason": "stop"}]}'
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + body)


def route(url: str, environment: dict[str, str], **changes: Any) -> str:
    given = ModelSettings.model_validate({"model": "m", "base_url": url, **changes})
    return route_to(endpoint_for(given, ModelRole.CODER), environment).proxy


@pytest.mark.parametrize(
    ("host", "here"),
    [
        *((host, True) for host in ("localhost", "LOCALHOST", "localhost.", "api.localhost")),
        *((host, True) for host in ("127.0.0.1", "127.1", "127.9.9.9", "0.0.0.0", "0", "::1")),
        *((host, True) for host in ("2130706433", "0x7f.1", "::", "::ffff:127.0.0.1")),
        (socket.gethostname(), True),
        *((host, False) for host in ("192.0.2.1", "example.com", "127.0.0.1.example.com")),
        *((host, False) for host in ("localhost.example.com", "2001:db8::1")),
    ],
)
def test_this_machine_is_known_under_all_of_its_names(host: str, here: bool) -> None:
    assert is_here(host) is here


@pytest.mark.parametrize("host", ["0.0.0.0", "127.1", "127.0.0.1"])
def test_the_key_does_not_go_through_a_proxy_to_this_machine(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening() as (proxy, told), bench(["Here."]) as (_, endpoint):
        port = endpoint.base_url.rpartition(":")[2]
        monkeypatch.setenv("http_proxy", f"http://{proxy}")
        monkeypatch.setenv("ALL_PROXY", f"http://{proxy}")
        with bench(["other"], base_url=f"http://{host}:{port}") as (lab, _):
            assert lab.chat().text == "Here."
        assert told == []


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://p:1"}, "http://low:1"),
        ({"ALL_PROXY": "p:1"}, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, ""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, ""),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "*"}, ""),
        ({"HTTPS_PROXY": ""}, ""),
    ],
)
def test_the_environment_names_the_proxy(environment: dict[str, str], proxy: str) -> None:
    assert route("https://api.example.com/v1", environment) == proxy


def test_the_setting_of_a_proxy_comes_first() -> None:
    environment = {"HTTPS_PROXY": "http://p:1"}
    assert route("https://h/v1", environment, proxy="none") == ""
    assert route("https://h/v1", environment, proxy="http://q:2") == "http://q:2"


@pytest.mark.parametrize(
    "garbage", ["htp://x", "http://", "http://p:notaport", "socks4://p:1", "http://[::1", "\x00"]
)
def test_a_proxy_that_is_none_is_named_and_not_shown(garbage: str) -> None:
    with pytest.raises(ConfigError, match="the proxy in HTTPS_PROXY is no URL"):
        route("https://h/v1", {"HTTPS_PROXY": garbage})


def test_a_socks_proxy_is_gone_through() -> None:
    with listening(socks=True) as (proxy, told):
        far: dict[str, Any] = {"base_url": "http://192.0.2.1:9/v1", "proxy": f"socks5://{proxy}"}
        with bench(["no"], **far) as (lab, _):
            assert lab.chat().text == "through socks"
    assert told[0].startswith(b"\x05")
    assert b"POST /v1/chat/completions" in told[2]


def test_without_its_package_a_socks_proxy_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install socksio"):
        route("https://h/v1", {"ALL_PROXY": "socks5://p:1"})


def test_variables_for_openais_client_neither_crash_nor_leak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OPENAI_PROXY", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "of-somebody-else")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Other: of-somebody-else")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "of-somebody-else")
    with bench(["ok"], api_key="") as (lab, endpoint):
        lab.chat()
        (asked,) = endpoint.requests
    assert "of-somebody-else" not in str(dict(asked.headers))
    assert "authorization" not in {name.lower() for name in asked.headers}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(7).not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=9)).add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "ca.pem", folder / "key.pem"


@contextmanager
def secure(certificate: tuple[Path, Path]) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with scripted.scripted_endpoint(["Here."], tls=context) as endpoint:
        yield endpoint.base_url.replace("http://127.0.0.1", "https://localhost")


@pytest.mark.parametrize("way", ["setting", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_an_authority_of_ones_own_is_believed(
    way: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    changes: dict[str, Any] = {"ca_file": str(certificate[0])} if way == "setting" else {}
    if way != "setting":
        monkeypatch.setenv(way, str(certificate[0]))
    with secure(certificate) as url, bench(["no"], base_url=url, **changes) as (lab, _):
        assert lab.chat().text == "Here."


def test_an_unknown_authority_is_not_believed(certificate: tuple[Path, Path]) -> None:
    with (
        secure(certificate) as url,
        bench(["no"], base_url=url, max_retries=0) as (lab, _),
        pytest.raises(EndpointUnavailable, match=r"(?i)certificate"),
    ):
        lab.chat()


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for path in (tmp_path / "ca.pem", tmp_path / "nothing.pem"):
        given = {"model": "m", "base_url": "https://h/v1", "ca_file": str(path)}
        endpoint = endpoint_for(ModelSettings.model_validate(given), ModelRole.CODER)
        with pytest.raises(ConfigError, match=r"model\.ca_file names .*ca|nothing\.pem"):
            route_to(endpoint, {})


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:8000/v1", "//h/v1", "ftp://h/v1", "http://", "http://:8000/v1"),
        *("http://h:notaport/v1", "http://h:99999/v1", "http://h:0/v1", "http://[::1/v1"),
        *("http://[zz]/v1", "http://a b/v1", "http://h\n/v1", "http://h/v1\u200b"),
        "http://user:pass-word@h:notaport/v1",
    ],
)
def test_a_url_that_is_none_is_refused_when_settings_are_read(url: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.base_url: ") as raised:
        load_settings(flags={"model.model": "m", "model.base_url": url})
    assert "pass-word" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://h/v1/\n", "https://h/v1"),
        ("https://h/v1/chat/completions", "https://h/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_what_is_added_to_a_url_anyway_may_stand_there(given: str, kept: str) -> None:
    found = load_settings(flags={"model.base_url": given})
    assert found.model.base_url == kept


def test_passwords_in_urls_and_keys_in_headers_are_secrets() -> None:
    found = load_settings(
        flags={
            "model.model": "m",
            "model.base_url": "https://user:p%40ss-word@h/v1",
            "model.headers": {"api-key": "azure-secret"},
            "model.proxy": "http://me:proxy-pass@p:1",
        }
    )
    shown = Redactor(found.secrets())("p%40ss-word p@ss-word azure-secret proxy-pass me:proxy-pass")
    assert set(shown.split()) == {"[hidden]"}
    assert {"azure-secret", "p@ss-word"} <= set(known_keys())
    endpoint = endpoint_for(found.model, ModelRole.CODER)
    assert endpoint.shown_url == "https://h/v1"
    for secret in ("ss-word", "azure-secret", "proxy-pass"):
        assert secret not in repr(endpoint)
    for name in ("HEADERS", "HEADERS__API_KEY", "PROXY", "CODER__BASE_URL", "CODER__HEADERS"):
        assert is_key(f"EVOCODEC_MODEL__{name}")
