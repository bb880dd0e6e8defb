"""Random requests that have a fair chance to match."""

from tests.conformance.random_words import (
    AUTHORITIES,
    CLUSTERS,
    VALUES,
    Dice,
    Json,
    some_path,
)


def request(dice: Dice, number: int) -> Json:
    headers = [
        [dice.one(("x-a", "x-b", "x-user", "accept")), dice.one(VALUES)]
        for _ in range(dice.upto(3))
    ]
    extras = (
        (0.1, ["x-cluster", dice.one(CLUSTERS)]), (0.2, ["user-agent", "curl/8"]),
        (0.05, ["content-type", "application/grpc"]), (0.1, ["cookie", dice.one(("s=1", "t=2; s=abc"))]),
        (0.1, ["x-forwarded-for", dice.one(("10.0.0.1", "1.2.3.4, 10.0.0.1", "bad"))]),
        (0.05, ["x-forwarded-proto", dice.one(("https", "http"))]),
        (0.05, ["x-envoy-upstream-rq-timeout-ms", "2000"]), (0.03, ["x-envoy-internal", "true"]),
        (0.15, ["origin", dice.one(("https://a.com", "https://b.org", "https://c", "null"))]),
        (0.1, ["access-control-request-method", "PUT"]), (0.1, ["x_under", "1"]),
        (0.1, ["access-control-request-private-network", "true"]),
        (0.1, ["x-forwarded-client-cert", "Hash=ab;URI=spiffe://z/ns/q/sa/q"]),
        (0.03, ["x-envoy-retry-on", "5xx"]), (0.03, ["x-envoy-max-retries", "1"]),
        (0.05, ["via", "1.1 other"]), (0.05, ["x-forwarded-host", "h.test"]),
    )  # fmt: skip
    headers += [pair for share, pair in extras if dice.chance(share)]
    found: Json = {
        "id": str(number),
        "method": dice.one(("GET", "GET", "GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE")),
        "authority": dice.one(AUTHORITIES),
        "path": some_path(dice),
        "headers": headers,
    }
    if dice.chance(0.3):
        found["source_ip"] = dice.one(
            ("10.0.0.9", "192.168.1.1", "8.8.8.8", "fd00::1", "2001:db8::1")
        )
    if found["method"] in ("POST", "PUT") and dice.chance(0.7):
        found["body"] = "hello"
    if dice.chance(0.3):
        found["upstream_script"] = [_step(dice) for _ in range(1 + dice.upto(3))]
    if dice.chance(0.25):
        found["source_principal"] = dice.one(
            ("spiffe://cluster.local/ns/a/sa/b", "spiffe://td/ns/x/sa/y", "https://a.test/p")
        )
    return found


def _step(dice: Dice) -> Json:
    if dice.chance(0.15):
        return {"action": dice.one(("reset", "close"))}
    found: Json = {"status": dice.one((200, 204, 404, 409, 500, 503, 504))}
    if dice.chance(0.5):
        found["headers"] = [["x-r", dice.one(VALUES)]]
    if dice.chance(0.1):
        found["headers"] = [["grpc-status", dice.one(("0", "13", "14"))]]
    if dice.chance(0.1):
        found["headers"] = [["x-envoy-ratelimited", "true"]]
    return found
