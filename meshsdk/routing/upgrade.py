"""Whether a request may change the protocol of its connection. Source: Envoy,
FilterManager::createFilterChain."""

from typing import Final

from meshsdk.call.message import LocalReply, Request
from meshsdk.resources.hcm_options import HcmOptions
from meshsdk.routing.action import Chosen

UPGRADE_FAILED: Final = LocalReply(403, details="upgrade_failed")


def upgrade_of(request: Request) -> str:
    """The upgrade type that a canonical request asks for, in lower case; empty for none."""
    if request.method == "CONNECT":
        return "connect"
    upgrade = request.headers.get("upgrade")
    return "" if upgrade is None else upgrade.lower()


def refuse_upgrade(
    request: Request, options: HcmOptions, chosen: Chosen | None
) -> LocalReply | None:
    """The refusal of an upgrade that neither the route nor the connection manager lets pass."""
    kind = upgrade_of(request)
    if not kind:
        return None
    if chosen is not None:
        for upgrade_type, enabled in chosen.upgrades:
            if upgrade_type == kind:
                return None if enabled else UPGRADE_FAILED
    return None if options.allows_upgrade(kind) else UPGRADE_FAILED
