"""What kind of address a connection is made to."""

from meshsdk.call.address import Address


def is_unix(address: Address) -> bool:
    """Whether this is the path of a unix socket (`Address`)."""
    return address.port == 0 and address.host.startswith(("/", "@"))
