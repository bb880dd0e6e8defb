"""HTTP and network filters: one file each, one line here."""

from typing import Final

from meshsdk.config.extension import HttpFilterExtension, NetworkFilterExtension
from meshsdk.filters import rbac, rbac_network, router, skipped

HTTP_FILTERS: Final[tuple[HttpFilterExtension, ...]] = (
    router.EXTENSION,
    rbac.EXTENSION,
    skipped.FAULT,
    skipped.CORS,
)
NETWORK_FILTERS: Final[tuple[NetworkFilterExtension, ...]] = (rbac_network.EXTENSION,)

__all__ = ["HTTP_FILTERS", "NETWORK_FILTERS"]
