"""`python -m meshsdk`: the command, where scripts are not on the path."""

from meshsdk.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
