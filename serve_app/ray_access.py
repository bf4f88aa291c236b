"""Who can reach a Ray of our own: only this machine, and only with a token that this user alone can read.

Whoever reaches one of Ray's ports without being asked for a token can run any code.
"""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

TOKEN_FILE = Path(".ray") / "auth_token"
"""Under the home directory: where Ray's own commands (`serve status`, `ray status`) look for it, too."""
LOOPBACK = "127.0.0.1"
LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Its name tells of the systems on which "0" is Ray's default: all its ports on the loopback address."""
EDGE_VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""What Serve's HTTP proxies call for middlewares."""
TOKEN_VARIABLES = frozenset({"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"})
"""Either of them is used before the file."""


def private_ray() -> dict[str, str]:
    """The environment for a process that starts a Ray of its own. What it already says stays."""
    environment = {
        "RAY_AUTH_MODE": "token",
        LOOPBACK_VARIABLE: "0",
        EDGE_VARIABLE: "serve_app.edge:middlewares",
        **os.environ,
    }
    given = TOKEN_VARIABLES & environment.keys()
    if environment["RAY_AUTH_MODE"] == "token" and not given:
        keep_token(Path.home() / TOKEN_FILE)
    return environment


def prepare_to_join(node_address: str | None) -> None:
    """Make this process speak to a running Ray as that Ray was started; before Ray is imported.

    `node_address` is that of its node on this machine, if there is one. What the environment says already
    stays. Ray itself sends a token only where it is given no address, and looks for nobody on the loopback
    address.
    """
    if TOKEN_VARIABLES & os.environ.keys() or (Path.home() / TOKEN_FILE).exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    if node_address == LOOPBACK:
        os.environ.setdefault(LOOPBACK_VARIABLE, "0")


def rays_here() -> dict[str, str]:
    """The Rays with a node on this machine: their addresses, and those of the nodes."""
    found = {}
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet":
            words = (word.partition("=") for word in process.info["cmdline"] or ())
            options = {name: value for name, _, value in words}
            found[options.get("--gcs-address", "")] = options.get("--node_ip_address", "")
    return found


def keep_token(file: Path) -> None:
    """Make a token where there is none, and close the file to other users: one made by Ray is open to all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent) as made:  # for its owner alone
        made.write(secrets.token_hex(32))
        made.flush()
        with suppress(FileExistsError):
            os.link(made.name, file)
    file.chmod(0o600)
