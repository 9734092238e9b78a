"""multiprocessing.forkserver itself, under its name here."""

import multiprocessing.forkserver
import sys

sys.modules[__name__] = multiprocessing.forkserver
