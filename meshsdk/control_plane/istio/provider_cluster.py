"""The cluster of an extension provider's service."""

from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.extension_providers import ExtensionProvider
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.shapes.clusters import cluster_name


def provider_cluster(
    config: Config, proxy: Proxy, provider: ExtensionProvider
) -> tuple[str, str] | None:
    """Cluster and host; None where no service is known under `[NAMESPACE/]HOST`. Source: istiod,
    LookupCluster."""
    namespace, slash, host = str(provider.settings.get("service") or "").rpartition("/")
    port = provider.settings.get("port")
    for service in config.registry.services_for(proxy):
        is_named = service.hostname == host and (not slash or service.namespace == namespace)
        if is_named and isinstance(port, int):
            return cluster_name(host, port), host
    return None
