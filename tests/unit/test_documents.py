"""The documents agree with the code and with each other: docs/, README, CONTRIBUTING and CHANGELOG."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.domain import AUDIO_CHANNELS, code_count, latent_frames, sample_count
from configs.settings import PROJECT_ROOT, ApiSettings
from docs.scripts import layers, reference

DOCS = PROJECT_ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md")) + [
    PROJECT_ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
]
MAX_LINE = 110
CODE = ("benchmarks", "client", "configs", "deployments", "serve_app", "tests", "training")
PATH = re.compile(rf"`((?:{'|'.join(CODE)}|docker|docs)/[\w./-]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FRAME_BYTES = 64 * 4
"""Bytes of a latent frame, which has 64 channels of float32."""


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines outside code blocks."""
    in_code = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code:
            yield number, line


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings in the form that GitHub gives them."""
    headings = (line.lstrip("# ") for _, line in prose(page) if re.match("#+ ", line))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_lines_have_at_most_110_characters_but_in_tables_and_links(page: Path) -> None:
    long = [
        f"{number}: {line}"
        for number, line in enumerate(page.read_text().splitlines(), 1)
        if len(line) > MAX_LINE and not line.startswith("|") and "://" not in line
    ]
    assert not long


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for _, line in prose(page):
        for link in LINK.findall(re.sub("`[^`]*`", "", line)):
            if "://" in link:
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            if anchor and target.suffix == ".md":
                assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    named = {path for _, line in prose(page) for path in PATH.findall(line)}
    missing = {path for path in named if not (PROJECT_ROOT / path).exists()}
    assert not missing


def test_every_section_of_the_contract_that_is_cited_exists() -> None:
    headings = re.findall(r"^#+ ([\d.]+?)\.? ", (DOCS / "contract.md").read_text(), flags=re.MULTILINE)
    cited = {
        section
        for folder in CODE
        for source in (PROJECT_ROOT / folder).rglob("*.py")
        for line in source.read_text().splitlines()
        if "contract" in line.lower()
        for section in re.findall(r"§(\d+(?:\.\d+)*)", line)
    }
    assert "1.2" in cited
    assert cited <= set(headings)


def test_the_reference_is_that_of_the_api() -> None:
    assert reference.PAGE.read_text() == reference.page(), "run: python -m docs.scripts.reference"


def test_the_picture_of_the_layers_shows_those_that_are_enforced() -> None:
    assert layers.PICTURE.read_text() == layers.picture(), "run: python -m docs.scripts.layers"


def test_the_sizes_of_the_largest_job_are_those_of_the_code() -> None:
    page = " ".join((DOCS / "architecture.md").read_text().split())
    limits = ApiSettings()
    seconds, songs = limits.max_duration, limits.max_batch_size
    assert f"eight items of {seconds:g} s" in page
    assert songs == 8
    frames, samples = latent_frames(seconds), sample_count(seconds)
    latents = frames * FRAME_BYTES
    assert f"[{frames:,}, 64], {latents / 1e6:.2f} MB each" in page
    assert f"{songs * latents / 1e6:.1f} MB" in page
    assert f"{code_count(seconds):,} codes" in page
    assert f"{songs * code_count(seconds):,} codes" in page
    assert f"{songs * math.ceil(code_count(seconds) / 10):,} progress messages" in page
    waveform = samples * AUDIO_CHANNELS * 4
    assert f"{samples:,} samples in stereo for each item, {waveform / 1e6:.1f} MB" in page
    mp3 = seconds * 192_000 / 8
    assert f"{mp3 / 1e6:.1f} MB each | {songs * mp3 / 1e6:.0f} MB" in page


def test_the_page_on_performance_is_short() -> None:
    assert len((DOCS / "performance.md").read_text().split()) <= 1_000


def test_tests_that_are_named_exist() -> None:
    tests = PROJECT_ROOT / "tests"
    files = {str(path.relative_to(tests)) for path in tests.rglob("*.py")}
    for page in PAGES:
        for name in re.findall(r"`(?:tests/)?((?:[\w]+/)*(?:test_\w+|long_storm)\.py)`", page.read_text()):
            assert any(path == name or path.endswith(f"/{name}") for path in files), f"{page.name}: {name}"
        for name in re.findall(r"`((?:unit|integration|parity|chaos)(?:/\w+)*)`", page.read_text()):
            assert any((tests / f"{name}{suffix}").exists() for suffix in ("", ".py")), f"{page.name}: {name}"
