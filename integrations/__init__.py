"""Adapters: one third-party library per file, imported as `meshsdk.integrations.<library>`."""

if __name__ != "meshsdk.integrations":
    raise ImportError(
        f"import this package as meshsdk.integrations, not as {__name__}: "
        "two import names would be two copies of its classes"
    )
