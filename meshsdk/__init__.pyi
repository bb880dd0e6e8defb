from meshsdk.call.connection import Peer as Peer
from meshsdk.call.jwt import Jwt as Jwt
from meshsdk.call.spiffe_id import SpiffeId as SpiffeId
from meshsdk.downstream.current import current_jwt as current_jwt
from meshsdk.downstream.current import current_peer as current_peer
from meshsdk.downstream.guard import require as require
from meshsdk.errors import ConfigError as ConfigError
from meshsdk.errors import ForbiddenError as ForbiddenError
from meshsdk.errors import IdentityError as IdentityError
from meshsdk.errors import MeshError as MeshError
from meshsdk.errors import NotReadyError as NotReadyError
from meshsdk.errors import PeerError as PeerError
from meshsdk.errors import UsageError as UsageError
from meshsdk.mesh import Mesh as Mesh
from meshsdk.runtime.options import Options as Options

__version__: str
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
