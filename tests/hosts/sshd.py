"""Real OpenSSH servers on the hosts, with keys and settings of their own."""

from __future__ import annotations

import os
import shutil
import subprocess

from helpers import Running, eventually
from hostnet import MARK, Host, kill

SERVER = shutil.which("sshd") or "/usr/sbin/sshd"
FOLDER = "/srv/ssh"
CONFIG = f"{FOLDER}/config"  # the client's

SERVER_CONFIG = """\
ListenAddress {address}:22
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv {mark}={value}
"""
CLIENT_CONFIG = """\
Host *
    User {user}
    IdentityFile {folder}/id
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    StrictHostKeyChecking yes
"""


def why_not() -> str | None:
    for command in (SERVER, "ssh", "ssh-keygen"):
        if shutil.which(command) is None:
            return f"sshd: no {command}"
    return None


def _make_key(path: str) -> str:
    """The public half."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path]
    subprocess.run(command, check=True)
    with open(f"{path}.pub", encoding="ascii") as file:
        return " ".join(file.read().split()[:2])


class Ssh:
    """A client on one host, and servers on others (by the names a, b, c …)."""

    def __init__(self, client: Host) -> None:
        self.client = client
        self._running: list[Running] = []
        self._names: list[str] = []
        os.makedirs(client.path(FOLDER), exist_ok=True)
        self._user_key = _make_key(client.path(f"{FOLDER}/id"))
        self.env = {"DSMPROC_SSH": f"ssh -F {CONFIG}"}
        self._config = CLIENT_CONFIG.format(user="root", folder=FOLDER)
        client.write(CONFIG, self._config)

    def name(self, name: str, address: str) -> None:
        """What the client's settings call an address."""
        self._config = f"Host {name}\n    HostName {address}\n{self._config}"
        self.client.write(CONFIG, self._config)

    def serve(self, host: Host, name: str, address: str = "") -> None:
        address = address or host.address
        os.makedirs(host.path(FOLDER), exist_ok=True)
        public = _make_key(host.path(f"{FOLDER}/host_key"))
        host.write(f"{FOLDER}/authorized_keys", self._user_key + "\n", 0o600)
        with open(self.client.path(f"{FOLDER}/known_hosts"), "a", encoding="ascii") as file:
            file.write(f"{address} {public}\n")
        settings = SERVER_CONFIG.format(
            address=address, folder=FOLDER, mark=MARK, value=os.environ[MARK]
        )
        config = host.write(f"{FOLDER}/sshd_config", settings)
        self._running.append(Running(host.popen(SERVER, "-D", "-e", "-f", config)))
        self.name(name, address)
        eventually(lambda: _listens(host), what="the ssh server")

    def end(self) -> None:
        for running in self._running:
            kill(running.process)
            running.close()


def _listens(host: Host) -> bool:
    with open(f"/proc/{host.pid}/net/tcp", encoding="ascii") as file:
        return any(":0016 " in line and " 0A " in line for line in file)
