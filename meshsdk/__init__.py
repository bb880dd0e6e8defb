"""An embeddable, in-process service mesh for Python.

Importing this package loads nothing else: names arrive at their first use.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "Mesh": "meshsdk.mesh",
    "Options": "meshsdk.runtime.options",
    "current_jwt": "meshsdk.downstream.current",
    "current_peer": "meshsdk.downstream.current",
    "require": "meshsdk.downstream.guard",
    "Jwt": "meshsdk.call.jwt",
    "Peer": "meshsdk.call.connection",
    "SpiffeId": "meshsdk.call.spiffe_id",
    "MeshError": "meshsdk.errors",
    "ConfigError": "meshsdk.errors",
    "IdentityError": "meshsdk.errors",
    "PeerError": "meshsdk.errors",
    "UsageError": "meshsdk.errors",
    "ForbiddenError": "meshsdk.errors",
    "NotReadyError": "meshsdk.errors",
}

__all__ = [
    "ConfigError",
    "ForbiddenError",
    "IdentityError",
    "Jwt",
    "Mesh",
    "MeshError",
    "NotReadyError",
    "Options",
    "Peer",
    "PeerError",
    "SpiffeId",
    "UsageError",
    "__version__",
    "current_jwt",
    "current_peer",
    "require",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'meshsdk' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
