"""CPython's own tests of multiprocessing, with dsmproc in multiprocessing's place.

`suite.cpython.X` is the running interpreter's `test.X`, compiled from where it is installed, with
one difference: what it imports as `multiprocessing` is `dsmproc`. Workers import it by that name as
well, so what a test sends to a child is the same function of the same module there.
"""
