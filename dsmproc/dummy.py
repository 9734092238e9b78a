"""multiprocessing.dummy itself, under its name here: the same interface over threads."""

import multiprocessing.dummy.connection
import sys

sys.modules[__name__ + ".connection"] = multiprocessing.dummy.connection
sys.modules[__name__] = multiprocessing.dummy
