"""MkDocs hooks that add pages from outside docs/ to the site and adapt their links.

Links to source files have no target on the site, so only their text stays.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]

OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "training/MODEL_CARD.md": "model_card.md",
}
"""Pages of the repository outside docs/, and their names on the site."""

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that stand outside docs/."""
    for path, name in OUTSIDE.items():
        files.append(File.generated(config, name, content=(ROOT / path).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Change links between files of the repository to links between pages of the site."""
    name = page.file.src_uri
    path = next((path for path, outside in OUTSIDE.items() if outside == name), f"docs/{name}")
    code = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        part if part.startswith("```") else LINK.sub(lambda link: _relinked(link, path, name), part)
        for part in code
    )


def _relinked(link: re.Match[str], path: str, name: str) -> str:
    image, text, target = link.groups()
    if "://" in target or target.startswith("#"):
        return link[0]
    file, hash_sign, anchor = target.partition("#")
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(path), file))
    if wanted.startswith("docs/"):
        on_site = wanted.removeprefix("docs/")
    elif wanted in OUTSIDE:
        on_site = OUTSIDE[wanted]
    else:
        return text
    relative = posixpath.relpath(on_site, posixpath.dirname(name) or ".")
    return f"{image}[{text}]({relative}{hash_sign}{anchor})"
