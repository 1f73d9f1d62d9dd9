"""The systemd unit of a node, as text (systemd.service(5), systemd.exec(5)). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

STATE: Final = "/var/lib/kvnode"
HOMES: Final = ("/home", "/root", "/run/user")
"""What ``ProtectHome=`` hides."""
WATCHDOG_S: Final = 30
"""A node whose owner task makes no turn for so long is restarted."""

_SYSTEM: Final = (
    "# A user that exists only while the service runs; all nodes of a machine share it.",
    "DynamicUser=yes",
    "User=kvnode",
    "StateDirectory=kvnode",
    "StateDirectoryMode=0700",
    "RuntimeDirectory=kvnode",
    "RuntimeDirectoryPreserve=yes",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "ProtectSystem=strict",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "RemoveIPC=yes",
)
_BOTH: Final = (
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
    "UMask=0077",
)


@dataclass(frozen=True, slots=True)
class Unit:
    """A service that runs the node `name` by `command`. `user`: for a user's own service manager, which cannot
    restrict as much as the system's. `homes`: the program lies below somebody's home, so that must stay readable.
    """

    name: str
    command: Sequence[str]
    user: bool = False
    homes: bool = False

    @property
    def file_name(self) -> str:
        """What systemd calls it."""
        return f"kvnode-{self.name}.service"

    def text(self) -> str:
        """The unit file."""
        network = [] if self.user else ["Wants=network-online.target", "After=network-online.target"]
        lines = [
            "# Written by `kv node install`; `kv node uninstall` removes it. Changes belong into a drop-in:",
            f"# systemctl {'--user ' if self.user else ''}edit {self.file_name}",
            "[Unit]",
            f"Description=kvnode {self.name}",
            *network,
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            "Type=notify",
            f"ExecStart={' '.join(map(quoted, self.command))}",
            "Restart=always",
            "RestartSec=2",
            "# Wrong settings do not mend themselves.",
            "RestartPreventExitStatus=2",
            f"WatchdogSec={WATCHDOG_S}",
            "TimeoutStartSec=infinity",
            "TimeoutStopSec=30",
            "",
            *(() if self.user else (*_SYSTEM, f"ProtectHome={'read-only' if self.homes else 'yes'}")),
            *_BOTH,
            "",
            "[Install]",
            f"WantedBy={'default.target' if self.user else 'multi-user.target'}",
        ]
        return "\n".join(lines) + "\n"


def quoted(word: str) -> str:
    """One word of a command line as systemd reads it (systemd.service(5), "Command lines")."""
    text = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return f'"{text}"' if not text or any(c in text for c in " \t;'\"\\") else text
