"""The contestants of the benchmark do the same work: the peers make the same songs as the server."""

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.end_to_end import mix
from benchmarks.end_to_end.load import closed_loop
from benchmarks.end_to_end.servers import Bench, plain
from benchmarks.end_to_end.statistics import Speed
from benchmarks.peers.song_maker import SongMaker
from benchmarks.tiny_models import TINY_MODELS
from tests.live_server import Client


@pytest.fixture(scope="module")
def song_maker() -> SongMaker:
    return SongMaker(TINY_MODELS)


@pytest.mark.slow
@pytest.mark.parametrize("thinking", [True, False])
def test_the_peers_make_the_same_songs_as_the_server(
    server: Client, song_maker: SongMaker, tmp_path: Path, thinking: bool
) -> None:
    request = mix.warm_up((6, 6)).model_copy(update={"batch_size": 2, "thinking": thinking})
    theirs = song_maker.make(request, tmp_path)
    ours = server.make(**request.model_dump())
    for path, file in zip(ours["audio_paths"], theirs.files, strict=True):
        song, _ = soundfile.read(io.BytesIO(server.audio(path)))
        expected, _ = soundfile.read(file)
        assert song.shape == expected.shape
        np.testing.assert_allclose(song, expected, atol=1e-3)


@pytest.mark.slow
def test_the_plain_server_answers_the_clients_of_the_benchmark(tmp_path: Path) -> None:
    with plain(Bench(TINY_MODELS, 1, 1, tmp_path)) as peer:
        records = asyncio.run(closed_loop(peer.url, mix.songs(2, (6, 6), 1), clients=2))
    assert Speed.of(records).jobs == 2
    assert min(record.waited for record in records) < max(record.waited for record in records)
    assert all(record.submitted < record.finished <= record.seen for record in records)
