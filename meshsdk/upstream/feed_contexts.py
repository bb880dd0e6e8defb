"""`ClientContexts` over the feed's TLS settings and our own identity."""

from meshsdk.identity.x509_context import X509Context
from meshsdk.resources.tls import UpstreamTls
from meshsdk.runtime.tls import FeedTls
from meshsdk.upstream.tls import ClientContext


class FeedContexts:
    """Gives contexts for the transport sockets of the feed. Any thread may ask."""

    def __init__(self, tls: FeedTls) -> None:
        self._tls = tls
        self._identity: X509Context | None = None
        self._generation = 0

    @property
    def generation(self) -> int:
        """Rises when a trust bundle or one of its roots went; a new root or a new certificate of
        ours alone leaves connections as they are."""
        identity = self._tls.contexts.status.context
        before = self._identity
        if identity is not before:
            self._identity = identity
            if before is not None and (identity is None or _lost(before, identity)):
                self._generation += 1
        return self._generation

    def context(self, socket: UpstreamTls, protocol: str, sni: str) -> ClientContext:
        """For one new connection; IdentityError or ConfigError when there is none."""
        context, name = self._tls.client(socket, protocol, sni)
        expires = self._tls.contexts.status.expires
        if expires is None or socket.certificate is None:
            return ClientContext(context, name)
        return ClientContext(context, name, expires)


def _lost(before: X509Context, after: X509Context) -> bool:
    """Whether a root that vouched for somebody does not any more."""
    if (before.bundles.flat is None) is not (after.bundles.flat is None):
        return True
    if before.bundles.flat is not None and after.bundles.flat is not None:
        return not set(before.bundles.flat.roots) <= set(after.bundles.flat.roots)
    now = dict(after.bundles.by_trust_domain)
    return any(
        name not in now or not set(bundle.roots) <= set(now[name].roots)
        for name, bundle in before.bundles.by_trust_domain
    )
