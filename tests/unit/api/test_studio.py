"""The files of the studio as they are sent: types, ETags, compression, and what a browser is forbidden."""

import gzip
import os
import re
import tomllib
from collections.abc import AsyncIterator
from glob import glob
from pathlib import Path

import httpx
import pytest

from configs.settings import PROJECT_ROOT, ApiSettings, Settings, StorageSettings
from serve_app.api.access.keys import KEYS_VARIABLE, digest_of
from serve_app.api.app import create_app
from serve_app.storage import AudioStorage
from serve_app.studio.files import MEDIA_TYPES, PAGE, STATIC, studio_in
from tests.unit.api.conftest import LocalJobService

STUDIO = studio_in()
FILES = STUDIO.files
ADDRESSES = {name: "/" if name == PAGE else f"/studio/{STUDIO.version}/{name}" for name in FILES}
SIZE_LIMIT = 250_000
"""Bytes of all files together, compressed: a cold start on a slow line."""


def client_of(settings: Settings, folder: Path, root_path: str = "") -> httpx.AsyncClient:
    """Return a client of a server with these settings. It takes no compression unless a test says so."""
    app = create_app(LocalJobService(settings.jobs), settings, AudioStorage(str(folder)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, root_path=root_path)
    headers = {"Accept-Encoding": "identity"}
    return httpx.AsyncClient(transport=transport, base_url="http://server", headers=headers)


@pytest.fixture(scope="module")
async def http(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of one server for all tests, because none of them changes it."""
    async with client_of(Settings(), tmp_path_factory.mktemp("output")) as client:
        yield client


async def test_every_file_is_sent_as_what_it_is(http: httpx.AsyncClient) -> None:
    for name, address in ADDRESSES.items():
        answer = await http.get(address)
        assert answer.status_code == 200
        assert answer.content == FILES[name].plain.content
        if name != PAGE:
            assert answer.content == (STATIC / name).read_bytes()
        assert answer.headers["content-type"] == MEDIA_TYPES[Path(name).suffix]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["vary"] == "Accept-Encoding"
        assert "content-encoding" not in answer.headers


def test_every_file_in_the_folder_is_served() -> None:
    assert {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()} == set(FILES)


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("*", True),
        ("", False),
        ("br", False),
        ("gzip;q=0", False),
        ("*, gzip; q=0.000", False),
        ("gzip;q=nonsense", False),
    ],
)
async def test_a_file_is_compressed_where_the_browser_says_that_it_reads_it(
    http: httpx.AsyncClient, accepted: str, is_compressed: bool
) -> None:
    answer = await http.get("/", headers={"Accept-Encoding": accepted})
    assert answer.text == FILES[PAGE].plain.content.decode()
    assert (answer.headers.get("content-encoding") == "gzip") is is_compressed
    assert (int(answer.headers["content-length"]) < len(answer.content)) is is_compressed


async def test_the_compressed_file_and_the_plain_one_have_etags_of_their_own(http: httpx.AsyncClient) -> None:
    tags = {
        (await http.get("/", headers={"Accept-Encoding": coding})).headers["etag"] for coding in ("gzip", "")
    }
    assert len(tags) == 2
    assert all(re.fullmatch('"[0-9a-z-]+"', tag) for tag in tags)


@pytest.mark.parametrize("coding", ["gzip", "identity"])
@pytest.mark.parametrize("known", ["{}", "W/{}", '"other", {}', "*"])
async def test_a_file_that_the_browser_has_is_not_sent_again(
    http: httpx.AsyncClient, coding: str, known: str
) -> None:
    first = await http.get("/", headers={"Accept-Encoding": coding})
    headers = {"Accept-Encoding": coding, "If-None-Match": known.format(first.headers["etag"])}
    second = await http.get("/", headers=headers)
    assert (second.status_code, second.content) == (304, b"")
    for name in ("etag", "cache-control", "vary", "content-security-policy"):
        assert second.headers[name] == first.headers[name]


async def test_a_changed_file_is_sent(http: httpx.AsyncClient) -> None:
    answer = await http.get("/", headers={"If-None-Match": '"other"'})
    assert answer.status_code == 200
    assert answer.content


def test_the_etag_is_that_of_the_content(tmp_path: Path) -> None:
    """All replicas give a file the same ETag, whenever they were installed."""
    file = tmp_path / "page.html"
    file.write_text("one")
    before = studio_in(tmp_path)
    os.utime(file, (0, 0))
    assert studio_in(tmp_path) == before
    file.write_text("two")
    assert studio_in(tmp_path).files["page.html"].plain.etag != before.files["page.html"].plain.etag


def test_the_version_is_another_when_any_file_is(tmp_path: Path) -> None:
    versions = {studio_in(tmp_path).version}
    for name, text in (("a.js", "one"), ("a.js", "two"), ("b.css", ""), ("b.js", "")):
        (tmp_path / name).write_text(text)
        versions.add(studio_in(tmp_path).version)
    (tmp_path / "b.css").rename(tmp_path / "c.css")
    versions.add(studio_in(tmp_path).version)
    assert len(versions) == 6


async def test_browsers_keep_all_files_but_the_page_which_names_the_newest(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert page.headers["cache-control"] == "no-cache"
    named = re.findall(r'"studio/([^/"]+)/', page.text)
    assert named == [STUDIO.version] * len(named)
    assert named
    for name, address in ADDRESSES.items():
        if name != PAGE:
            assert "immutable" in (await http.get(address)).headers["cache-control"]


async def test_a_file_of_another_version_is_the_present_one_and_is_not_kept(http: httpx.AsyncClient) -> None:
    """While a server is upgraded, the page of one replica may ask another one for its files."""
    answer = await http.get("/studio/0123456789abcdef/js/main.js")
    assert answer.content == FILES["js/main.js"].plain.content
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("coding", ["gzip", "identity"])
async def test_head_says_the_same_without_the_content(http: httpx.AsyncClient, coding: str) -> None:
    for address in ADDRESSES.values():
        headers = {"Accept-Encoding": coding}
        get, head = await http.get(address, headers=headers), await http.head(address, headers=headers)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers == get.headers


@pytest.mark.parametrize(
    "path",
    [
        "/studio/../routes.py",
        "/studio/%2e%2e/routes.py",
        "/studio/..%2froutes.py",
        "/studio/..%5croutes.py",
        "/studio//etc/passwd",
        "/studio/%2fetc/passwd",
        "/studio/static/index.html",
        "/studio/js/../../policy.py",
        "/studio/index.html%00.js",
        "/studio/",
        "/studio/js",
        "/studio/js/main.js",
        "/studio/v/index.html",
        "/studio/v/../routes.py",
        "/studio/v/..%2froutes.py",
        "/studio/v/%2fetc/passwd",
        "/studio/v//etc/passwd",
        "/studio/v/",
        "/studio/" + "a" * 5_000,
        "/studio/nothing.js",
    ],
)
async def test_no_path_leads_out_of_the_folder(http: httpx.AsyncClient, path: str) -> None:
    url = httpx.URL("http://server").copy_with(raw_path=path.encode())
    answer = await http.get(url)
    assert answer.status_code == 404
    assert "detail" in answer.json()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_the_files_are_only_for_reading(http: httpx.AsyncClient, method: str) -> None:
    assert (await http.request(method, "/")).status_code == 405


async def test_the_page_gets_nothing_from_elsewhere_and_runs_no_text(http: httpx.AsyncClient) -> None:
    headers = (await http.get("/")).headers
    policy = dict(directive.split(" ", 1) for directive in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert not re.search(r"unsafe|\*|https?:|data:", headers["content-security-policy"])
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"


async def test_where_songs_are_redirected_to_a_storage_the_page_may_fetch_them_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AudioStorage, "signed_url", lambda *_: "https://songs.example:9000/a/b?signature=c")
    redirecting = StorageSettings(uri="s3://songs/audio", redirect_seconds=60)
    async with client_of(Settings(storage=redirecting), tmp_path) as client:
        policy = (await client.get("/")).headers["content-security-policy"]
    assert "media-src 'self' https://songs.example:9000 blob:;" in policy
    assert "connect-src 'self' https://songs.example:9000;" in policy
    assert policy.count("example") == 2


async def test_no_file_names_an_address_of_its_own() -> None:
    """Every URL is relative, so that the page works under any prefix, and loads nothing from elsewhere."""
    page = (STATIC / PAGE).read_text()
    links = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", page)
    assert links
    assert [link for link in links if not link.startswith("#")] == [
        link for link in links if link.removeprefix("studio/") in FILES
    ]
    for name, file in FILES.items():
        if name.endswith((".js", ".css")):
            text = file.plain.content.decode()
            found = re.findall(
                r"""(?:\bfrom|\bimport\(?|\burl\()\s*["']?([^"'\s)]+\.(?:js|css|svg|woff2))""", text
            )
            assert [link for link in found if not link.startswith((".", "#"))] == [], name


async def test_under_a_prefix_the_page_and_the_api_are_the_same(tmp_path: Path) -> None:
    async with client_of(Settings(), tmp_path, root_path="/music") as client:
        for name, address in ADDRESSES.items():
            assert (await client.get(f"/music{address}")).content == FILES[name].plain.content
        assert (await client.get("/music/v1/models")).status_code == 200
        assert (await client.get("/music/api/v1/stats")).json()["code"] == 200
        bare = await client.get("/music")
        assert (bare.status_code, bare.headers["location"]) == (308, "/music/")
        slash = await client.get("/music/v1/jobs/?limit=3")
        assert (slash.status_code, slash.headers["location"]) == (307, "/music/v1/jobs?limit=3")


async def test_a_server_may_be_without_the_studio(tmp_path: Path) -> None:
    async with client_of(Settings(api=ApiSettings(studio=False)), tmp_path) as client:
        for address in ADDRESSES.values():
            assert (await client.get(address)).status_code == 404
        assert (await client.get("/v1/models")).status_code == 200


async def test_the_page_is_not_part_of_the_api_document(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    assert not [path for path in paths if path == "/" or path.startswith("/studio")]


async def test_the_api_document_is_compressed_because_the_page_loads_it(http: httpx.AsyncClient) -> None:
    plain = await http.get("/openapi.json")
    compressed = await http.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert compressed.headers["content-encoding"] == "gzip"
    assert int(compressed.headers["content-length"]) < len(plain.content) / 4
    assert compressed.json() == plain.json()


def test_all_files_together_are_small() -> None:
    sizes = {name: len(gzip.compress(file.plain.content, 9)) for name, file in FILES.items()}
    assert sum(sizes.values()) <= SIZE_LIMIT, sizes


def test_the_files_are_part_of_the_distribution() -> None:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["serve_app.studio"]
    package = STATIC.parent
    packed = {
        name
        for pattern in patterns
        for name in glob(pattern, root_dir=package, recursive=True)  # noqa: PTH207, as setuptools does
    }
    assert {f"static/{name}" for name in FILES} <= packed


async def test_with_api_keys_the_page_needs_none_and_the_api_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEYS_VARIABLE, str([{"name": "alice", "sha256": digest_of("acestep-alice")}]))
    async with client_of(Settings(), tmp_path) as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/openapi.json")).status_code == 200
        assert (await client.get("/v1/models")).status_code == 401
