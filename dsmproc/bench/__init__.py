"""What operations cost, against floors and peers: `python -m dsmproc.bench`.

memory, sync, messages, pools and programs hold the figures, one group each; _floors the sides that
they are compared with, _hosts how they put processes on hosts.
"""
