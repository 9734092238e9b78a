"""With DSMTEST_TRACE=FOLDER every interpreter that has this folder on its PYTHONPATH records there
which public methods of multiprocessing's classes it calls, and where (method_trace.py)."""

import os

if os.environ.get("DSMTEST_TRACE"):
    import method_trace

    method_trace.install(os.environ["DSMTEST_TRACE"])
