"""Who a process is, and whether it still lives: ``host/instance:pid:start``.

`instance` tells apart what shares a host name but not its process ids (a restarted machine, containers on
the host's network); `start` tells apart processes that got the same id one after the other.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache
from pathlib import Path


def process_owner() -> str:
    """This process, as a lease names its owner."""
    pid = os.getpid()
    return f"{_host()}:{pid}:{_start(pid) or '?'}"


def is_dead(owner: str) -> bool:
    """Whether `owner` was a process of this host that is gone for certain.

    False whenever that cannot be told: another host, an owner of another form, an unreadable start time.
    """
    host, _, rest = owner.partition(":")
    pid, _, start = rest.partition(":")
    if host != _host() or not pid.isdecimal() or start in ("", "?"):
        return False
    return _start(int(pid)) != start


def _start(pid: int) -> str | None:
    """When the process started, in the system's own words; None if there is none (a zombie is none)."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # "pid (name) state …": the name may hold spaces and brackets. State is field 3, start time field 22.
        fields = stat[stat.rindex(b")") + 2 :].split()
        return None if fields[0] in (b"Z", b"X") else fields[19].decode()
    told = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    return None if not told or told[0].startswith("Z") else "-".join(told[1:]).replace(":", ".")


@cache
def _host() -> str:
    """Host name and 8 hex characters for the boot and the process id namespace, where Linux tells them."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    instance = (boot.read_text() if boot.exists() else "") + (
        str(namespace.readlink()) if namespace.is_symlink() else ""
    )
    return f"{platform.node().replace(':', '_')}/{hashlib.sha256(instance.encode()).hexdigest()[:8]}"
