"""Where identities come from: one file per source, one line here."""

from typing import Final

from meshsdk.identity.sources import files, static

SOURCES: Final = (
    files.FilesSource,
    static.StaticSource,
)
