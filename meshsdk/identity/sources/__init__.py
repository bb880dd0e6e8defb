"""Where identities come from: one file per source, one line here."""

from typing import Final

from meshsdk.identity.sources import files, istio_ca, static

SOURCES: Final = (
    files.FilesSource,
    istio_ca.IstioCaSource,
    static.StaticSource,
)
