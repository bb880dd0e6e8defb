"""istiod's debug pages (FEED.md 1.15, recording 14): what is served, to whom, and what it said."""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, cast
from urllib.parse import urlsplit

from meshsdk.control_plane.ads_session import (
    CLUSTER,
    LISTENER,
    LOAD_ASSIGNMENT,
    ROUTE_CONFIGURATION,
)
from meshsdk.control_plane.ads_status import ClientStatus
from meshsdk.control_plane.istio.services import Service
from meshsdk.control_plane.serving import ControlPlane

_SHORT: Final = {
    "cluster": CLUSTER,
    "endpoint": LOAD_ASSIGNMENT,
    "listener": LISTENER,
    "route": ROUTE_CONFIGURATION,
}


def syncz(plane: ControlPlane) -> object:
    """What each node was sent and has acknowledged; a NACK shows as sent that is not acked."""
    return [_synced(client) for client in plane.ads.clients()]


def adsz(plane: ControlPlane) -> object:
    """Who is connected, and what it watches."""
    clients = plane.ads.clients()
    shown = [
        {
            "connectionId": f"{_proxy(client)}-{index}",
            "node": client.node_id,
            "variant": client.variant,
            "metadata": client.node.get("metadata", {}),
            "watches": {url: sorted(each.subscribed) for url, each in client.types.items()},
        }
        for index, client in enumerate(clients, 1)
    ]
    return {"totalClients": len(clients), "clients": shown}


def configz(plane: ControlPlane) -> object:
    """Every document in force, where it stands, and every problem of the files as they are now."""
    configuration = plane.configuration
    documents = [
        {
            "kind": each.key.kind,
            "group": each.key.group,
            "metadata": {"name": each.key.name, "namespace": each.key.namespace},
            "at": str(each.mark),
        }
        for each in configuration.config.loaded.documents
    ]
    problems = [{"severity": p.severity, "problem": str(p)} for p in configuration.problems]
    return {"documents": documents, "problems": problems}


def registryz(plane: ControlPlane) -> object:
    """Every service."""
    return [
        {
            "hostname": service.hostname,
            "Attributes": {"Namespace": service.namespace, "ServiceRegistry": service.registry},
            "ports": [
                {"name": port.name, "port": port.number, "protocol": port.protocol}
                for port in service.ports
            ],
        }
        for service in plane.configuration.config.registry.services
    ]


def endpointz(plane: ControlPlane) -> object:
    """Every endpoint, by host and namespace."""
    found: dict[str, dict[str, object]] = {}
    for service in plane.configuration.config.registry.services:
        found.setdefault(service.hostname, {})[service.namespace] = list(_endpoints(service))
    return found


PAGES: Final[Mapping[str, Callable[[ControlPlane], object]]] = {
    "adsz": adsz,
    "configz": configz,
    "endpointz": endpointz,
    "registryz": registryz,
    "syncz": syncz,
}


def page(plane: ControlPlane, path: str) -> str | None:
    """The JSON of `/debug/NAME`; None where there is no such page."""
    name = urlsplit(path).path.removeprefix("/debug/")
    found = PAGES.get(name)
    return None if found is None else json.dumps(found(plane), indent=1, default=str) + "\n"


def show_over_xds(plane: ControlPlane) -> None:
    """Serve the pages as the type `istio.io/debug`, too, to identities of the root namespace."""
    plane.page = partial(page, plane)


class DebugServer:
    """The pages over HTTP, on loopback; nobody proves anything, and no page has a secret."""

    def __init__(self, plane: ControlPlane, port: int = 0) -> None:
        """Binds at once. OSError where it cannot."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _answer(self, plane)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="meshsdk-debug", daemon=True
        )

    def start(self) -> None:
        """Begin to serve. Does not block."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _answer(handler: BaseHTTPRequestHandler, plane: ControlPlane) -> None:
    host = (handler.headers.get("host") or "").rpartition(":")[0] or "none"
    if host not in ("127.0.0.1", "localhost"):  # else a web page could read us by rebinding
        handler.send_error(403)
        return
    text = page(plane, handler.path) if handler.path.startswith("/debug/") else None
    if text is None:
        handler.send_error(404)
        return
    body = text.encode()
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _synced(client: ClientStatus) -> Mapping[str, object]:
    said: Mapping[str, object] = cast("Mapping[str, object]", client.node.get("metadata") or {})
    found: dict[str, object] = {
        "proxy": _proxy(client),
        "proxy_type": client.node_id.partition("~")[0],
        "cluster_id": said.get("CLUSTER_ID", ""),
        "istio_version": said.get("ISTIO_VERSION", ""),
    }
    for name, url in _SHORT.items():
        status = client.types.get(url)
        if status is not None:
            found[f"{name}_sent"], found[f"{name}_acked"] = (
                status.version_sent,
                status.version_acked,
            )
    found["resources"] = {
        url: {"sent": status.version_sent, "acked": status.version_acked, "nack": status.nack}
        for url, status in client.types.items()
    }
    return found


def _proxy(client: ClientStatus) -> str:
    parts = client.node_id.split("~")
    return parts[2] if len(parts) == 4 else client.node_id


def _endpoints(service: Service) -> Iterable[Mapping[str, object]]:
    for endpoint in service.endpoints:
        yield {
            "Addresses": [endpoint.address],
            "Ports": {str(number): port for number, port in endpoint.ports.items()},
            "Labels": dict(endpoint.labels),
            "ServiceAccount": endpoint.service_account,
            "WorkloadName": endpoint.name,
            "Namespace": endpoint.namespace,
        }
