"""`python -m meshsdk.cli`."""

import sys

from meshsdk.cli import main

sys.exit(main())
