"""The classes of `_test_multiprocessing`, made for one start method as its own modules do it."""

import os

from suite.cpython import _test_multiprocessing

METHOD = "DSMTEST_METHOD"

_test_multiprocessing.PRELOAD = ["__main__", __name__]  # by the fork server, as there
_test_multiprocessing.install_tests_in_module_dict(globals(), os.environ[METHOD])
