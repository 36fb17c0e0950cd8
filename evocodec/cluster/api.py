"""Client of a Kubernetes API server, in plain JSON.

The official client does the hard parts: finding credentials, running their plugins, TLS, proxies.
Its typed models are not used: they refuse an object as soon as one field is missing, and this check
must work with unusual clusters.
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
    """The API server answered with an error: ``status``, ``reason`` and its message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"the API server answered {status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class ClusterApi:
    """One cluster, as one user. Not thread-safe."""

    def __init__(self, client: Any, *, request_seconds: float = REQUEST_SECONDS) -> None:
        self._client = client
        self._seconds = request_seconds
        self._lower_errors = _library("urllib3.exceptions").HTTPError

    @property
    def server(self) -> str:
        """Address of the API server."""
        return str(self._client.configuration.host)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """Return one object; raises ``ApiRefusal`` with status 404 where there is none."""
        return self._request("GET", path, query=query)

    def items(self, path: str, query: Mapping[str, str] | None = None) -> list[Json]:
        """Return all objects of a list, however many pages it has."""
        parameters = {"limit": str(PAGE), **(query or {})}
        found: list[Json] = []
        while True:
            page = self._request("GET", path, query=parameters)
            found += page.get("items") or []
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return found
            parameters["continue"] = token

    def create(self, path: str, body: Json) -> Json:
        """Create an object and return it as the server made it."""
        return self._request("POST", path, body=body)

    def delete(self, path: str) -> None:
        """Delete an object at once; a missing object is not an error."""
        try:
            self._request("DELETE", path, query={"gracePeriodSeconds": "0"})
        except ApiRefusal as refusal:
            if refusal.status != 404:
                raise

    def _request(
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
        return _parse_response(response.status, response.reason or "", text, server=self.server)


def connect(*, context: str | None = None, request_seconds: float = REQUEST_SECONDS) -> ClusterApi:
    """Return the cluster of a kubeconfig context, or the one that this process runs in.

    Sends no request yet. Raises UserError when credentials are missing or invalid.
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
            f"no kubeconfig: there is no file {' or '.join(_config_paths())}; "
            "set KUBECONFIG, or get one from your provider (aws eks update-kubeconfig, "
            "gcloud container clusters get-credentials, kind export kubeconfig)"
        )
    path_list = os.pathsep.join(files)
    try:
        config.load_kube_config(
            config_file=path_list,
            context=context,
            client_configuration=settings,
            persist_config=False,
        )
    except config.ConfigException as error:
        available = _contexts(config, path_list)
        if context is not None and available and context not in available:
            raise UserError(
                f"--context {context}: not in {path_list}, which has {', '.join(available)}; "
                "name one of them"
            ) from error
        raise UserError(
            f"the kubeconfig {path_list} cannot be used: {error}; check it with kubectl config view"
        ) from error
    except (yaml.YAMLError, AttributeError, TypeError, KeyError, UnicodeDecodeError) as error:
        # The client looks into the file without asking what it is. The error's own words stay out:
        # a parser quotes the line it stumbled over, which may hold a token.
        raise UserError(
            f"the kubeconfig {path_list} is no kubeconfig ({type(error).__name__}); "
            "check it with kubectl config view"
        ) from None
    return settings


def _contexts(config: Any, path_list: str) -> list[str]:
    try:
        contexts, _current = config.list_kube_config_contexts(config_file=path_list)
    except config.ConfigException:
        return []
    return [str(entry["name"]) for entry in contexts]


def _config_paths() -> list[str]:
    named = os.environ.get("KUBECONFIG", "")
    return [part for part in named.split(os.pathsep) if part] or [
        os.path.expanduser("~/.kube/config")
    ]


def _kubeconfigs() -> list[str]:
    return [name for name in _config_paths() if Path(name).is_file()]


def _parse_response(status: int, reason: str, text: str, *, server: str) -> Json:
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
    """Return the innermost cause: outer errors only say that a request was retried."""
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
