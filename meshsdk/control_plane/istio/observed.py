"""What every connection manager and TCP proxy of one side of a node has: logs, traces, metrics, and
what the node's ProxyConfig says."""

from dataclasses import dataclass

from meshsdk.control_plane.istio.access_log import access_loggers, listener_loggers
from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.envoy_json import message, messages
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.proxy_settings import ProxySettings, proxy_settings
from meshsdk.control_plane.istio.stats_filter import stats_filter
from meshsdk.control_plane.istio.telemetry import Side
from meshsdk.control_plane.istio.tracing import tracing_of
from meshsdk.control_plane.shapes.listeners import connection_manager
from meshsdk.control_plane.shapes.tls import Json


@dataclass(frozen=True, slots=True)
class Observed:
    """One side of one node; CLIENT is outbound."""

    side: Side
    loggers: tuple[Json, ...]
    tracing: Json | None
    stats: Json | None
    settings: ProxySettings
    has_listener_log: bool = True

    def manager(self, config: Json) -> Json:
        """A connection manager; `config` has its routes, filters and stat prefix, which go before
        what is said here."""
        found: Json = dict(self.settings.fields)
        if self.side == "SERVER":
            found |= self.settings.inbound_fields
        if self.loggers:
            found["access_log"] = list(self.loggers)
        if self.tracing is not None:
            found["tracing"] = self.tracing
        *filters, router = messages(config["http_filters"])
        if self.stats is not None:
            filters.append(self.stats)
        if self.settings.hides_envoy:
            own = {**message(router["typed_config"]), "suppress_envoy_headers": True}
            router = {**router, "typed_config": own}
        return connection_manager({**found, **config, "http_filters": [*filters, router]})

    def lost(self, proxy: Json) -> list[Json]:
        """The end of a chain that nothing comes out of: it has metrics, and no log."""
        return [proxy] if self.stats is None else [self.stats, proxy]

    def tcp(self, proxy: Json) -> list[Json]:
        """The end of a TCP chain; `proxy` is a tcp_proxy filter."""
        found: Json = {**message(proxy["typed_config"])}
        if self.loggers:
            found["access_log"] = list(self.loggers)
        if self.settings.idle_timeout:
            found.setdefault("idle_timeout", self.settings.idle_timeout)
        return self.lost({**proxy, "typed_config": found})

    @property
    def listener(self) -> Json:
        """Fields of the listener that takes what no other does."""
        if not self.loggers or not self.has_listener_log:
            return {}
        return {"access_log": listener_loggers(list(self.loggers))}


def observed(config: Config, proxy: Proxy, side: Side) -> Observed:
    """What one side of a node shows of its traffic."""
    return Observed(
        side,
        tuple(access_loggers(config, proxy, side)),
        tracing_of(config, proxy, side),
        stats_filter(config, proxy, side),
        proxy_settings(config, proxy),
        not config.mesh.disable_envoy_listener_log,
    )
