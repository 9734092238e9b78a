"""Listeners at addresses that only their own host can reach, and clients on the others.

The driver is on host 1; a listener is there or on host 2, its client elsewhere.
"""

from __future__ import annotations

from hostcluster import HostCluster

DRIVER = 1

EVERY_KIND = """
    import dsmproc as mp
    from dsmproc.connection import AuthenticationError, Client, Listener, wait

    BLOCK = bytes(range(256)) * 16384  # 4 MiB

    def talk(address):
        assert mp.current_host() == 3
        try:
            Client(address, authkey=b"wrong")
        except AuthenticationError:
            pass
        with Client(address, authkey=b"key") as conn:
            assert not conn.poll(0)
            conn.send([BLOCK, {"a": 1}])
            assert wait([conn], 30) == [conn]
            assert conn.recv() == {"b": 2}
            conn.send_bytes(b"raw")
            try:
                conn.recv()
            except EOFError:
                return
            raise SystemExit("no end of file")

    def listen(place, out):
        with Listener(place, authkey=b"key") as listener:
            out.send(listener.address)
            try:
                listener.accept()
            except AuthenticationError:
                pass
            with listener.accept() as conn:
                assert conn.recv() == [BLOCK, {"a": 1}]
                conn.send({"b": 2})
                assert conn.recv_bytes() == b"raw"

    def on(host, function, *arguments):
        process = mp.Process(target=function, args=arguments)
        process._dsmproc_host = host
        process.start()
        return process

    Listener().close()  # children inherit the name of a folder of this host
    for place, host in ((None, 1), (("localhost", 0), 2), (("", 0), 1), ("\\0dsmproc-test", 2)):
        reader, writer = mp.Pipe(False)
        server = on(host, listen, place, writer)
        writer.close()
        address = reader.recv()
        client = on(3, talk, address)
        server.join()
        client.join()
        print(type(address).__name__, server.exitcode, client.exitcode, flush=True)
        try:
            Client(address, authkey=b"key")
        except (ConnectionRefusedError, FileNotFoundError):
            continue
        print("nobody listens, and somebody answered")
"""


def test_each_kind_of_address(shared_cluster: HostCluster) -> None:
    result = shared_cluster.run(DRIVER, EVERY_KIND).check()
    wanted = [f"{kind} 0 0" for kind in ("str", "tuple", "tuple", "bytes")]
    assert result.lines() == wanted, result.err


ORDER = """
    import dsmproc as mp
    from dsmproc.connection import Client, Listener

    def child(address, name):
        with Client(address) as conn:
            shm = mp.SharedMemory(name)
            for _ in range(20):
                said = conn.recv()
                assert shm.buf[0] == said
                shm.buf[0] += 1
                conn.send(shm.buf[0])
            shm.close()

    shm = mp.SharedMemory(create=True, size=4096)
    with Listener() as listener:
        process = mp.Process(target=child, args=(listener.address, shm.name))
        process._dsmproc_host = 2
        process.start()
        with listener.accept() as conn:
            for _ in range(20):
                shm.buf[0] += 1
                conn.send(shm.buf[0])
                said = conn.recv()
                assert shm.buf[0] == said
    process.join()
    print(process.exitcode, shm.buf[0])
    shm.close()
    shm.unlink()
"""


def test_messages_order_plain_memory(shared_cluster: HostCluster) -> None:
    assert shared_cluster.run(DRIVER, ORDER).check().lines() == ["0 40"]


MANAGERS = """
    import dsmproc as mp
    from dsmproc.managers import BaseManager

    class Counter:
        def __init__(self):
            self.value = 0

        def add(self, n):
            self.value += n
            return self.value

    class Manager(BaseManager):
        pass

    counter = Counter()
    Manager.register("counter", callable=lambda: counter)

    def remote(address, serializer):
        assert mp.current_host() == 3
        manager = Manager(address, b"key", serializer)
        manager.connect()
        counter = manager.counter()
        assert counter.add(2) == 3

    for serializer in ("pickle", "xmlrpclib"):
        with Manager(("localhost", 0), b"key", serializer) as manager:
            mine = manager.counter()
            assert mine.add(1) == 1
            process = mp.Process(target=remote, args=(manager.address, serializer))
            process._dsmproc_host = 3
            process.start()
            process.join()
            print(manager.address[0], process.exitcode, mine.add(10))
"""


def test_managers_at_loopback(shared_cluster: HostCluster) -> None:
    assert shared_cluster.run(DRIVER, MANAGERS).check().lines() == ["127.0.0.1 0 13"] * 2


GONE = """
    import os
    import dsmproc as mp
    from dsmproc.connection import Client, Listener

    def listen(out):
        listener = Listener(("127.0.0.1", 0))
        out.send(listener.address)
        out.close()
        os._exit(0)

    reader, writer = mp.Pipe(False)
    process = mp.Process(target=listen, args=(writer,))
    process._dsmproc_host = 2
    process.start()
    address = reader.recv()
    process.join()
    try:
        Client(address)
    except ConnectionRefusedError as error:
        print(error)
"""


def test_a_listener_whose_process_ended(shared_cluster: HostCluster) -> None:
    (refused,) = shared_cluster.run(DRIVER, GONE).check().lines()
    assert "Connection refused (at ('127.0.0.1'" in refused and "on host 2" in refused
