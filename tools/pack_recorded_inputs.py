"""Packs the Istio YAML that the recorded istiod had into tests/data/istiod/inputs.tar.xz.

    python tools/pack_recorded_inputs.py RECORDINGS_FOLDER

Read it with `tests/recorded_inputs.py`. The folder about certificates is left out.
"""

import gzip
import io
import lzma
import sys
import tarfile
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "tests" / "data" / "istiod" / "inputs.tar.xz"


def main(source: Path) -> None:
    paths = sorted(path for path in source.rglob("input/**/*") if path.is_file())
    with (
        lzma.open(TARGET, "wb", preset=9 | lzma.PRESET_EXTREME) as file,
        tarfile.open(fileobj=file, mode="w") as tar,
    ):
        for path in paths:
            name = str(path.relative_to(source))
            if name.startswith("12-ca"):
                continue
            body = path.read_bytes()
            if name.endswith(".gz"):
                name, body = name.removesuffix(".gz"), gzip.decompress(body)
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    sys.stdout.write(f"{len(paths)} files, {TARGET.stat().st_size} bytes\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
