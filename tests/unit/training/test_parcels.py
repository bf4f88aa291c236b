"""A parcel arrives whole on the other machine, or is refused."""

import json
from pathlib import Path

import pytest

from training import parcels
from training.parcels import ParcelError, about_parcel, open_parcel, write_parcel


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "PIECE_BYTES", 1000)


def contents(folder: Path, letter: bytes, size: int = 2500) -> dict[str, Path]:
    (folder / "some").mkdir(parents=True, exist_ok=True)
    (folder / "some" / "weights").write_bytes(letter * size)
    (folder / "one").write_bytes(letter)
    return {"some": folder / "some", "other/one": folder / "one"}


def test_files_and_folders_arrive_under_their_names(tmp_path: Path) -> None:
    parcel = tmp_path / "parcel"
    write_parcel(contents(tmp_path, b"a"), {"step": 3}, parcel)
    assert all(piece.stat().st_size <= 1000 for piece in parcel.glob("piece-*"))
    assert about_parcel(parcel) == {"step": 3}
    assert open_parcel(parcel, tmp_path / "there") == ["other/one", "some/weights"]
    assert (tmp_path / "there/some/weights").read_bytes() == b"a" * 2500
    assert (tmp_path / "there/other/one").read_bytes() == b"a"


def test_a_parcel_replaces_an_older_and_larger_one(tmp_path: Path) -> None:
    parcel = tmp_path / "parcel"
    write_parcel(contents(tmp_path, b"a", size=50_000), {}, parcel)
    write_parcel(contents(tmp_path, b"b"), {}, parcel)
    pieces = json.loads((parcel / "parcel.json").read_text())["pieces"]
    assert sorted(file.name for file in parcel.iterdir()) == sorted([*pieces, "parcel.json"])
    open_parcel(parcel, tmp_path)
    assert (tmp_path / "some/weights").read_bytes() == b"b" * 2500


@pytest.mark.parametrize("fault", ["of an older parcel", "missing", "cut off"])
def test_a_parcel_with_a_wrong_piece_changes_nothing(tmp_path: Path, fault: str) -> None:
    parcel = tmp_path / "parcel"
    write_parcel(contents(tmp_path, b"a"), {}, parcel)
    older = (parcel / "piece-04.tar").read_bytes()
    write_parcel(contents(tmp_path, b"b"), {}, parcel)
    piece = parcel / "piece-04.tar"
    if fault == "missing":
        piece.unlink()
    else:
        piece.write_bytes(older if fault == "of an older parcel" else piece.read_bytes()[:-1])
    with pytest.raises(ParcelError, match=r"piece-04\.tar is missing, damaged, or a piece of another parcel"):
        open_parcel(parcel, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_a_folder_without_a_parcel_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ParcelError, match=r"holds no parcel: there is no parcel\.json in it"):
        open_parcel(tmp_path, tmp_path / "there")
