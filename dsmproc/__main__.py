"""`python -m dsmproc` is the command `dsmproc`."""

import sys

from .cli import main

sys.exit(main())
