"""Way to an endpoint: which proxy, which certificates, and none of either on this machine."""

import contextlib
import importlib.util
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from urllib import request
from urllib.parse import urlsplit

import httpx2

from evocodec.domain.errors import ConfigError
from evocodec.models.endpoint import Endpoint

_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name a file of authorities: OpenSSL's own, requests', curl's."""


@dataclass(frozen=True, slots=True)
class Route:
    """A proxy (empty: none) and the PEM file of authorities (empty: the usual ones)."""

    proxy: str = field(repr=False)
    ca_file: str


def route_to(endpoint: Endpoint, environment: Mapping[str, str] = os.environ) -> Route:
    """Return the way to an endpoint; raises ConfigError for one that cannot be taken."""
    return Route(_proxy(endpoint, environment), _authorities(endpoint, environment))


@cache
def is_here(host: str) -> bool:
    """Return whether a name or address is this machine's, without asking a name server.

    0.0.0.0 and ``127.1`` reach it as well, and servers print the former as their address.
    """
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost") or name == _own_name():
        return True
    address = _address(name)
    if address is None:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return address.is_loopback or address.is_unspecified or _is_assigned(address)


def _own_name() -> str:
    return socket.gethostname().lower().removesuffix(".")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address in any form that the C library takes: ``127.1``, ``0x7f000001``."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name.partition("%")[0])
    with contextlib.suppress(OSError):
        return ipaddress.IPv4Address(socket.inet_aton(name))
    return None


def _is_assigned(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an interface of this machine has the address: only then it can be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _proxy(endpoint: Endpoint, environment: Mapping[str, str]) -> str:
    if endpoint.proxy == "none":
        return ""
    if endpoint.proxy:
        return _usable(endpoint.proxy, endpoint.setting("proxy"))
    if is_here(endpoint.host):
        return ""
    named = {
        name.lower(): (name, value)
        # Lower case wins, as everywhere.
        for name, value in sorted(environment.items(), key=lambda item: item[0].islower())
        if value and name.lower().endswith("_proxy")
    }
    if _bypassed(endpoint.host, environment):
        return ""
    scheme = urlsplit(endpoint.base_url).scheme
    for wanted in (f"{scheme}_proxy", "all_proxy"):
        if wanted in named:
            name, value = named[wanted]
            return _usable(value, name)
    return ""


def _bypassed(host: str, environment: Mapping[str, str]) -> bool:
    """Return whether NO_PROXY names a host, by the standard library's rules."""
    listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    bypass: Callable[[str, Mapping[str, str]], bool] = vars(request)["proxy_bypass_environment"]
    return bool(listed) and bypass(host, {"no": listed})


def _usable(url: str, where: str) -> str:
    """Return a proxy's URL; raises ConfigError that names where it came from, not the URL."""
    whole = url.strip() if "://" in url else f"http://{url.strip()}"  # as curl reads it
    try:
        parts = urlsplit(whole)
        complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete or parts.scheme not in _PROXY_SCHEMES or not whole.isprintable():
        raise ConfigError(
            f"the proxy in {where} is no URL of a proxy: set it to http://host:port or "
            f"socks5://host:port, or set model.proxy=none to go without one"
        )
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigError(
            f"the proxy in {where} is a SOCKS proxy, which needs the package socksio: "
            f"run `pip install socksio`, or set model.proxy=none to go without one"
        )
    return whole


def _authorities(endpoint: Endpoint, environment: Mapping[str, str]) -> str:
    given = [(endpoint.setting("ca_file"), os.path.expanduser(endpoint.ca_file))]
    given += [(name, environment.get(name, "")) for name in _AUTHORITIES]
    for where, path in given:
        if path:
            if urlsplit(endpoint.base_url).scheme == "https":
                tls_context(path, where)
            return path
    return ""


@cache
def tls_context(ca_file: str, where: str = "") -> ssl.SSLContext:
    """Return what checks a server's certificate; raises ConfigError for a file that has none.

    ``SSL_CERT_DIR`` is believed beside the file, as OpenSSL does.
    """
    try:
        if not ca_file:
            context = httpx2.create_ssl_context(trust_env=False)
        elif os.path.isdir(ca_file):
            context = ssl.create_default_context(capath=ca_file)
        else:
            context = ssl.create_default_context(cafile=ca_file)
        folder = os.environ.get("SSL_CERT_DIR", "")
        if folder and os.path.isdir(folder):
            context.load_verify_locations(capath=folder)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"{where or 'the file of authorities'} names {ca_file}, which cannot be read as PEM "
            f"({error.strerror or error}): set it to a file with the certificate of the authority"
        ) from error
    return context
