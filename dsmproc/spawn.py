"""multiprocessing.spawn itself, under its name here."""

import multiprocessing.spawn
import sys

sys.modules[__name__] = multiprocessing.spawn
