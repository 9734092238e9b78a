"""multiprocessing.popen_spawn_posix itself, under its name here."""

import multiprocessing.popen_spawn_posix
import sys

sys.modules[__name__] = multiprocessing.popen_spawn_posix
