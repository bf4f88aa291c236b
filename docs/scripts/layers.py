"""Draws docs/pictures/layers.svg from the layers in pyproject.toml.

python -m docs.scripts.layers writes the picture; a test checks that it is current.
"""

import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "pictures" / "layers.svg"

WIDTH, ROW, GAP, MARGIN = 760, 34, 8, 20
CAPTION_HEIGHT = 34

STYLE = """\
    svg { font: 14px system-ui, sans-serif;
          --paper: #ffffff; --ink: #1f2933; --soft: #5b6b7a; --edge: #9fb1c1;
          --serve_app: #e3eefb; --deployments: #e8f4ea; --configs: #fdf3df; }
    @media (prefers-color-scheme: dark) {
      svg { --paper: #161b22; --ink: #e6edf3; --soft: #9aa8b5; --edge: #566575;
            --serve_app: #1b2c42; --deployments: #1c3325; --configs: #3a301a; }
    }
    text { fill: var(--ink); text-anchor: middle; }
    .caption { fill: var(--soft); font-size: 12px; text-anchor: start; }
    .paper { fill: var(--paper); }
    rect { stroke: none; }
    .package { stroke: var(--edge); }
"""


def layers() -> list[list[str]]:
    """Return the packages of each layer. The uppermost layer is first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (layered,) = (contract for contract in contracts if contract["type"] == "layers")
    return [[package.strip() for package in layer.split("|")] for layer in layered["layers"]]


def picture() -> str:
    """Return the text of the SVG file."""
    rows = layers()
    height = 2 * MARGIN + CAPTION_HEIGHT + len(rows) * (ROW + GAP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "  <title>The layers of the packages: a package imports only from packages below it</title>",
        f"  <style>\n{STYLE}  </style>",
        f'  <rect class="paper" width="{WIDTH}" height="{height}" rx="12"/>',
    ]
    for index, packages in enumerate(rows):
        lines += _row(packages, MARGIN + index * (ROW + GAP))
    caption = "A package imports only from packages below it. Packages side by side do not import each other."
    lines += [f'  <text class="caption" x="{MARGIN}" y="{height - MARGIN}">{caption}</text>', "</svg>", ""]
    return "\n".join(lines)


def _row(packages: list[str], top: int) -> list[str]:
    width = (WIDTH - 2 * MARGIN - GAP * (len(packages) - 1)) // len(packages)
    lines = []
    for index, package in enumerate(packages):
        left = MARGIN + index * (width + GAP)
        top_level = package.partition(".")[0]
        lines.append(
            f'  <rect class="package" style="fill: var(--{top_level})" x="{left}" y="{top}" width="{width}" '
            f'height="{ROW}" rx="6"/>'
        )
        lines.append(f'  <text x="{left + width // 2}" y="{top + 22}">{escape(package)}</text>')
    return lines


if __name__ == "__main__":
    PICTURE.write_text(picture())
