"""HTTP and network filters: one file each, one line here."""

from typing import Final

from meshsdk.config.extension import HttpFilterExtension, NetworkFilterExtension
from meshsdk.filters import (
    adaptive_concurrency,
    admission_control,
    buffer,
    cors,
    csrf,
    ext_authz,
    ext_authz_network,
    fault,
    header_mutation,
    jwt_authn,
    local_ratelimit,
    peer_metadata,
    ratelimit,
    rbac,
    rbac_network,
    router,
    stateful_session,
)

HTTP_FILTERS: Final[tuple[HttpFilterExtension, ...]] = (
    router.EXTENSION,
    jwt_authn.EXTENSION,
    rbac.EXTENSION,
    adaptive_concurrency.EXTENSION,
    admission_control.EXTENSION,
    buffer.EXTENSION,
    cors.EXTENSION,
    csrf.EXTENSION,
    ext_authz.EXTENSION,
    fault.EXTENSION,
    header_mutation.EXTENSION,
    local_ratelimit.EXTENSION,
    ratelimit.EXTENSION,
    peer_metadata.EXTENSION,
    stateful_session.EXTENSION,
)
NETWORK_FILTERS: Final[tuple[NetworkFilterExtension, ...]] = (
    rbac_network.EXTENSION,
    ext_authz_network.EXTENSION,
)

__all__ = ["HTTP_FILTERS", "NETWORK_FILTERS"]
