"""multiprocessing.util itself, under its name here."""

import multiprocessing.util
import sys

sys.modules[__name__] = multiprocessing.util
