"""Reading configuration: proto-JSON, what extensions are, and what becomes of each field.

`config.yaml` and `config.bootstrap` are imported by their own names.
"""

from meshsdk.config.extension import (
    Extension,
    Extensions,
    HttpFilterExtension,
    LbPolicyExtension,
    NetworkFilterExtension,
    Override,
    PlacedFilter,
    Registry,
    Status,
)
from meshsdk.config.fields import (
    HONOURED,
    Field,
    MessageTable,
    Table,
    Use,
    check,
    honoured,
    ignored,
    not_built,
    refused,
)
from meshsdk.config.reader import Reader

__all__ = [
    "HONOURED",
    "Extension",
    "Extensions",
    "Field",
    "HttpFilterExtension",
    "LbPolicyExtension",
    "MessageTable",
    "NetworkFilterExtension",
    "Override",
    "PlacedFilter",
    "Reader",
    "Registry",
    "Status",
    "Table",
    "Use",
    "check",
    "honoured",
    "ignored",
    "not_built",
    "refused",
]
