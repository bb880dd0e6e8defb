"""Istio's name table (NDS): which addresses a host name stands for in the mesh."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader

TYPE_URL: Final = "type.googleapis.com/istio.networking.nds.v1.NameTable"
NAME_TABLE: Final = MessageTable("istio.networking.nds.v1.NameTable", honoured("table"))
NAME_INFO: Final = MessageTable(
    "istio.networking.nds.v1.NameTable.NameInfo",
    {
        **honoured("ips", "alt_hosts"),
        "registry": ignored("telemetry"),
        "shortname": ignored("names are completed by the caller's own domain"),
        "namespace": ignored("names are completed by the caller's own domain"),
    },
)
TABLES: Final = (NAME_TABLE, NAME_INFO)


@dataclass(frozen=True, slots=True, eq=False)
class NameTable:
    """Addresses by lower-case host name; `*.example.com` stands for every name below it."""

    table: Mapping[str, tuple[str, ...]]

    def addresses(self, host: str, namespace: str = "", domain: str = "") -> tuple[str, ...]:
        """The addresses of a host as a workload of `namespace` sees it; empty when unknown.

        The name as it is, then with the suffixes of a pod's resolver (`ns.svc.domain`,
        `svc.domain`, `domain`), then wildcard entries, the longest first. A final dot: as it is
        only. Source: FEED.md 5.1.
        """
        table = self.table
        name = host.lower()
        found = table.get(name.removesuffix("."))
        if found is not None:
            return found
        if not name.endswith(".") and domain:
            for suffix in (f"{namespace}.svc.{domain}", f"svc.{domain}", domain):
                found = table.get(f"{name}.{suffix}")
                if found is not None:
                    return found
        return self._wildcard(name.removesuffix("."))

    def _wildcard(self, name: str) -> tuple[str, ...]:
        while True:
            _, dot, name = name.partition(".")
            if not dot:
                return ()
            found = self.table.get(f"*.{name}")
            if found is not None:
                return found


def parse(reader: Reader, extensions: Extensions) -> NameTable:
    """A NameTable message. Old istiods list further names of a host beside it (alt_hosts)."""
    del extensions
    check(reader, NAME_TABLE)
    table: dict[str, tuple[str, ...]] = {}
    others: dict[str, tuple[str, ...]] = {}
    for host, info in reader.entries("table"):
        check(info, NAME_INFO)
        addresses = info.strings("ips")
        table[host.lower()] = addresses
        for other in info.strings("alt_hosts"):
            others[other.lower()] = addresses
    return NameTable(others | table)
