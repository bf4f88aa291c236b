"""Access to a local Ray instance: only from this machine, and only with a token that only this user can read.

Without token authentication, any client that can connect to one of Ray's ports can run arbitrary code.
"""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

TOKEN_FILE = Path(".ray") / "auth_token"
"""Path below the home directory, where Ray's commands (`serve status`, `ray status`) look for the token
too."""
LOOPBACK = "127.0.0.1"
LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Set to "0" it makes Ray bind all ports to the loopback address, which is its default on Windows and
macOS."""
EDGE_VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Names the function that Serve's HTTP proxies call for their middlewares."""
TOKEN_VARIABLES = frozenset({"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"})
"""Ray uses either of these before the token file."""


def private_ray() -> dict[str, str]:
    """The environment for a process that starts its own Ray instance. Variables that are set already stay."""
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
    """Set this process's environment so that it can join a running Ray cluster. Call it before importing Ray.

    `node_address` is the address of the cluster's node on this machine, if there is one. Variables that are
    set already stay. By itself Ray sends a token only where no address is given, and does not look for
    clusters on the loopback address.
    """
    if TOKEN_VARIABLES & os.environ.keys() or (Path.home() / TOKEN_FILE).exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    if node_address == LOOPBACK:
        os.environ.setdefault(LOOPBACK_VARIABLE, "0")


def rays_here() -> dict[str, str]:
    """Clusters with a node on this machine: cluster address -> node address."""
    found = {}
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet":
            words = (word.partition("=") for word in process.info["cmdline"] or ())
            options = {name: value for name, _, value in words}
            found[options.get("--gcs-address", "")] = options.get("--node_ip_address", "")
    return found


def keep_token(file: Path) -> None:
    """Create the token file if it is missing, and make it private; Ray creates it readable by every user."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent) as made:  # readable by its owner only
        made.write(secrets.token_hex(32))
        made.flush()
        with suppress(FileExistsError):
            os.link(made.name, file)
    file.chmod(0o600)
