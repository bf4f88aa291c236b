"""`make-certificate` makes a certificate that the Codec can sign with."""

import stat
from pathlib import Path

import pytest
import yaml

from configs.settings import ProvenanceSettings
from deployments.codec.files.signing import Signing
from serve_app.admin import main


def test_what_it_prints_are_settings_that_sign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "signing"
    assert main(["make-certificate", str(folder)]) == 0
    settings = ProvenanceSettings.model_validate(yaml.safe_load(capsys.readouterr().out)["provenance"])
    assert settings.certificate is not None
    assert settings.private_key is not None
    assert Signing.of(settings.certificate, settings.private_key).algorithm == "es256"
    assert stat.S_IMODE(settings.private_key.stat().st_mode) == 0o600


def test_it_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "private_key.pem").write_text("mine")
    assert main(["make-certificate", str(tmp_path)]) == 1
    assert "private_key.pem is already there" in capsys.readouterr().err
    assert (tmp_path / "private_key.pem").read_text() == "mine"


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(ValueError, match="belong together"):
        ProvenanceSettings(certificate=Path("certificate.pem"))
