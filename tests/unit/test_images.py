"""The Dockerfiles agree with the files that they copy and the packages that they install."""

import ast
import fnmatch
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from configs.settings import PROJECT_ROOT, Settings
from tests.presets import EMBEDDED, KUBERAY, arguments

IMAGES = sorted((PROJECT_ROOT / "docker").glob("Dockerfile.*"))
PROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]

each_image = pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.name)


def instructions(image: Path) -> list[tuple[str, str]]:
    """Return instructions with their arguments, without comments and with continued lines joined."""
    lines = [line for line in image.read_text().splitlines() if line and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines()]


def words(image: Path, instruction: str) -> list[str]:
    return [rest for name, rest in instructions(image) if name == instruction]


@each_image
def test_python_is_one_that_the_project_takes(image: Path):
    (base,) = words(image, "FROM")
    python = re.fullmatch(r"python:(\d+\.\d+)-slim-\w+", base)
    assert python
    assert PROJECT["requires-python"].startswith(f">={python[1]},")


@each_image
def test_what_is_installed_is_what_the_project_names(image: Path):
    (command,) = (run for run in words(image, "RUN") if "pip install" in run)
    extras = re.search(r"'\.\[([a-z,]+)\]'", command)
    assert extras
    assert f"--constraint constraints{'-gpu' if 'gpu' in extras[1] else ''}.txt " in command
    assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"]) - {"dev"}
    makefile = (PROJECT_ROOT / "Makefile").read_text()
    unusable = re.search(r"^UNUSABLE_ON_CPU := (.*)$", makefile, re.MULTILINE)
    assert unusable
    assert (f"pip uninstall --yes {unusable[1]}" in command) == ("cpu" in extras[1].split(","))


@each_image
def test_all_that_is_copied_is_there_and_reaches_the_builder(image: Path):
    ignored = (PROJECT_ROOT / ".dockerignore").read_text().split("\n")
    let_through = [pattern.removeprefix("!") for pattern in ignored if pattern.startswith("!")]
    for copied in words(image, "COPY"):
        *sources, _ = copied.split()
        for source in sources:
            assert (PROJECT_ROOT / source).exists()
            assert any(fnmatch.fnmatch(source, pattern) for pattern in let_through), source


@each_image
def test_the_packages_of_the_project_are_all_copied(image: Path):
    copied = {source for line in words(image, "COPY") for source in line.split()[:-1]}
    assert {"configs", "deployments", "serve_app"} <= copied


@each_image
def test_the_server_is_not_root_and_its_ray_asks_for_a_token(image: Path):
    names = [name for name, _ in instructions(image)]
    # The user is given by number, because Kubernetes cannot tell whether a name is root.
    (made,) = {number for run in words(image, "RUN") for number in re.findall(r"useradd --uid (\d+)", run)}
    assert words(image, "USER") == [made]
    assert int(made) > 0
    assert names.index("USER") > max(index for index, name in enumerate(names) if name in {"RUN", "COPY"})
    environment = dict(word.split("=", 1) for line in words(image, "ENV") for word in shlex.split(line))
    assert environment["RAY_AUTH_MODE"] == "token"
    assert not [name for name in environment if re.search("SECRET|PASSWORD|TOKEN|KEY", name)]


@each_image
def test_names_of_images_carry_the_version_of_the_project(image: Path):
    named = set(re.findall(r"acestep-serve:([\w.]+)-", image.read_text() + KUBERAY.read_text()))
    assert named == {PROJECT["version"]}


def test_the_cpu_image_serves_the_port_that_it_checks_and_exposes(tmp_path: Path):
    """The command that writes the image's config file is run on the file that the image copies."""
    image = PROJECT_ROOT / "docker" / "Dockerfile.cpu"
    (rewriting,) = (run.partition("&&")[0] for run in words(image, "RUN") if "serve_config.yaml" in run)
    (tmp_path / "configs").mkdir()
    shutil.copy(EMBEDDED, tmp_path)
    subprocess.run(["bash", "-c", rewriting], cwd=tmp_path, check=True)
    (_, *_, config) = ast.literal_eval(words(image, "CMD")[-1])
    served = ServeDeploySchema.model_validate(yaml.safe_load((tmp_path / config).read_text()))
    assert served.http_options.host == "0.0.0.0"
    assert words(image, "EXPOSE") == [str(served.http_options.port)]
    assert f"localhost:{served.http_options.port}/-/healthz" in words(image, "HEALTHCHECK")[0]
    # `api.hosts` is included, because every web page can reach a port that is published on the loopback
    # address.
    assert Settings(**served.applications[0].args) == Settings(**arguments(EMBEDDED))
    assert Settings(**arguments(EMBEDDED)).api.hosts == ("127.0.0.1", "localhost")
