"""Client of a Kubernetes API server, in plain JSON.

The official client is used for what is hard: finding credentials, running their plugins, TLS,
proxies. Its typed models are not: they refuse an object as soon as one field is missing, and a
preflight has to survive odd clusters.
"""

import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from evocodec.domain.errors import InfrastructureFailure, UserError

Json = dict[str, Any]
PAGE: Final = 250
REQUEST_SECONDS: Final = 15.0


class ApiRefusal(InfrastructureFailure):
    """The API server answered with an error: ``status``, its ``reason``, and its own words."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"the API server answered {status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class ClusterApi:
    """One cluster, as one user. Not for use by several threads."""

    def __init__(self, client: Any, *, request_seconds: float = REQUEST_SECONDS) -> None:
        self._client = client
        self._seconds = request_seconds
        self._lower_errors = _library("urllib3.exceptions").HTTPError

    @property
    def server(self) -> str:
        """Address of the API server."""
        return str(self._client.configuration.host)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """Return one object; ``ApiRefusal`` with 404 where there is none."""
        return self._ask("GET", path, query=query)

    def items(self, path: str, query: Mapping[str, str] | None = None) -> list[Json]:
        """Return all objects of a list, however many pages it has."""
        asked = {"limit": str(PAGE), **(query or {})}
        found: list[Json] = []
        while True:
            page = self._ask("GET", path, query=asked)
            found += page.get("items") or []
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return found
            asked["continue"] = token

    def create(self, path: str, body: Json) -> Json:
        """Create an object and return it as the server made it."""
        return self._ask("POST", path, body=body)

    def delete(self, path: str) -> None:
        """Delete an object at once; one that is gone already is no error."""
        try:
            self._ask("DELETE", path, query={"gracePeriodSeconds": "0"})
        except ApiRefusal as refusal:
            if refusal.status != 404:
                raise

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
    ) -> Json:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        request = self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = self._client.call_api(*request, _request_timeout=self._seconds)
            text = response.read().decode("utf-8", errors="replace")
        except (self._lower_errors, OSError) as error:
            raise InfrastructureFailure(
                f"no answer from the API server {self.server}: {_root(error)}; "
                "check that the cluster runs and that you are in its network (VPN, proxy): "
                "kubectl cluster-info"
            ) from error
        return _answer(response.status, response.reason or "", text, server=self.server)


def connect(*, context: str | None = None, request_seconds: float = REQUEST_SECONDS) -> ClusterApi:
    """Return the cluster of a kubeconfig's context, or the one that this process runs in.

    Nothing is asked yet. Raises UserError where no credentials are found or they make no sense.
    """
    config = _library("kubernetes.config")
    client = _library("kubernetes.client")
    if context is None and not _kubeconfigs() and "KUBERNETES_SERVICE_HOST" in os.environ:
        settings = _from_this_pod(config, client)
    else:
        settings = _from_kubeconfig(config, client, context)
    # Its retries would multiply how long a person waits for "unreachable".
    settings.retries = False
    return ClusterApi(client.ApiClient(configuration=settings), request_seconds=request_seconds)


def _from_this_pod(config: Any, client: Any) -> Any:
    settings = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)
    except config.ConfigException as error:
        raise UserError(
            f"this pod has no token for the API server ({error}): the chart's pods get none; "
            "run it from a machine with a kubeconfig"
        ) from error
    return settings


def _from_kubeconfig(config: Any, client: Any, context: str | None) -> Any:
    yaml = _library("yaml")
    settings = client.Configuration()
    files = _kubeconfigs()
    if not files:
        raise UserError(
            f"no kubeconfig: there is no file {' or '.join(_wanted())}; "
            "set KUBECONFIG, or get one from your provider (aws eks update-kubeconfig, "
            "gcloud container clusters get-credentials, kind export kubeconfig)"
        )
    place = os.pathsep.join(files)
    try:
        config.load_kube_config(
            config_file=place,
            context=context,
            client_configuration=settings,
            persist_config=False,
        )
    except config.ConfigException as error:
        known = _contexts(config, place)
        if context is not None and known and context not in known:
            raise UserError(
                f"--context {context}: not in {place}, which has {', '.join(known)}; "
                "name one of them"
            ) from error
        raise UserError(
            f"the kubeconfig {place} cannot be used: {error}; check it with kubectl config view"
        ) from error
    except (yaml.YAMLError, AttributeError, TypeError, KeyError, UnicodeDecodeError) as error:
        # The client looks into the file without asking what it is. The error's own words stay out:
        # a parser quotes the line it stumbled over, which may hold a token.
        raise UserError(
            f"the kubeconfig {place} is no kubeconfig ({type(error).__name__}); "
            "check it with kubectl config view"
        ) from None
    return settings


def _contexts(config: Any, place: str) -> list[str]:
    try:
        contexts, _current = config.list_kube_config_contexts(config_file=place)
    except config.ConfigException:
        return []
    return [str(entry["name"]) for entry in contexts]


def _wanted() -> list[str]:
    named = os.environ.get("KUBECONFIG", "")
    return [part for part in named.split(os.pathsep) if part] or [
        str(Path("~/.kube/config").expanduser())
    ]


def _kubeconfigs() -> list[str]:
    return [name for name in _wanted() if Path(name).is_file()]


def _answer(status: int, reason: str, text: str, *, server: str) -> Json:
    try:
        body = json.loads(text) if text else {}
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise InfrastructureFailure(
            f"{server} does not answer like a Kubernetes API server ({status} {reason}); "
            "check the server's address in the kubeconfig"
        )
    if status == 401:
        raise UserError(
            f"{server} does not know you (401 Unauthorized): the credentials are missing, wrong or "
            "expired; see whether `kubectl auth whoami` works, and log in again with your provider"
        )
    if status >= 400:
        raise ApiRefusal(status, str(body.get("reason") or reason), str(body.get("message") or ""))
    return body


def _root(error: BaseException) -> str:
    """Return the innermost cause: the outer ones only say that something was retried."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            return str(error) or type(error).__name__
        error = inner


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"looking at a cluster needs the package `kubernetes` ({error}); "
            "install it: pip install -c constraints.txt 'evocodec[cluster]'"
        ) from error
