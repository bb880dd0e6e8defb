"""Writes docs/reference/servers.md from the golden table of tests/integrations/test_raw_requests.py."""

import json
import lzma
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "servers.md"
TEXT = """# Servers

Requests are judged above the server's own HTTP codec, so what the codec does comes first. The table says what a client
gets for requests that are wrong or odd in their octets, from each server with `MeshMiddleware` around an application
that answers 200: `tests/integrations/test_raw_requests.py` sends them over sockets, with some 150 odd targets, hosts,
methods and fields, and holds each that reaches the application against what policy saw. `-` is a connection that was
closed without an answer, `...` a server that waits for more. *Envoy* is what its codec does.

h11, which hypercorn uses too, takes two equal `Content-Length` fields for one before anybody can see them; prefer
uvicorn with httptools. gunicorn drops field names
with `_`, and takes `SCRIPT_NAME` from peers that `--forwarded-allow-ips` trusts: it answers 500 where the path does not
begin with it, and the mesh 400 where it does.

"""


def table() -> str:
    """The page's table."""
    data = ROOT / "tests" / "data"
    golden = json.loads((data / "raw_statuses.json").read_text())
    rows = json.loads(lzma.decompress((data / "raw_requests.json.xz").read_bytes()))
    servers = sorted(golden)
    lines = [f"| request | Envoy | {' | '.join(servers)} |", "|---" * (len(servers) + 2) + "|"]
    for case, _, envoys in rows:
        if envoys is not None:
            found = [_word(golden[server][case]) for server in servers]
            lines.append(f"| {case} | {envoys.replace('status_', '')} | {' | '.join(found)} |")
    return "\n".join(lines)


def _word(status: int) -> str:
    return {0: "-", -1: "..."}.get(status, str(status))


def page() -> str:
    """The whole page."""
    return f"{TEXT}{table()}\n"


if __name__ == "__main__":
    PAGE.write_text(page())
