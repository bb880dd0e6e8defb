"""What tests of services in a mesh need: a CA, a clock, chance, a control plane."""

from meshsdk.control_plane.ads_server import AdsServer
from meshsdk.testing.ca import FakeCa, chain_pem, private_key_pem
from meshsdk.testing.clock import FakeClock, SeededRandom

__all__ = [
    "AdsServer",
    "FakeCa",
    "FakeClock",
    "SeededRandom",
    "chain_pem",
    "private_key_pem",
]
