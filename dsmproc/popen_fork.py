"""multiprocessing.popen_fork itself, under its name here."""

import multiprocessing.popen_fork
import sys

sys.modules[__name__] = multiprocessing.popen_fork
