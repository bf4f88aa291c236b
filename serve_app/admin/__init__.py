"""Commands for operators: `python -m serve_app.admin COMMAND --help` says what each does."""

from serve_app.admin.commands import main

__all__ = ["main"]
