"""Reading of Serve config files of this application."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve_app.admin.errors import CommandError

if TYPE_CHECKING:
    from configs.settings import Settings


def read_application(config: Path) -> "tuple[dict[str, Any], Settings]":
    """The only application in the file, unparsed, and its settings. Raises CommandError."""
    import yaml
    from pydantic import ValidationError

    from configs.settings import Settings

    try:
        (application,) = yaml.safe_load(config.read_text())["applications"]
        return application, Settings(**application.get("args", {}))
    except OSError as error:
        raise CommandError(f"{config}: {error.strerror}: name the server's file by --config") from error
    except (yaml.YAMLError, ValidationError, KeyError, TypeError, ValueError) as error:
        raise CommandError(f"{config} is no Serve config file of this application: {error}") from error
