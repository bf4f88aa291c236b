"""S3 on a loopback port: moto's server, which a test can make refuse requests."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests"}
REGION = "eu-central-1"
_REFUSAL = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"

Environ = dict[str, Any]


class ObjectStore:
    """Lists buckets and their content through a client of its own, independent of the application."""

    def __init__(self) -> None:
        import boto3
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, *_words: Any) -> None:
                pass

        self._moto = DomainDispatcherApplication(create_backend_app)
        self._refused: Callable[[Environ], bool] = lambda _: False
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    def new_bucket(self) -> str:
        bucket = f"songs-{uuid.uuid4()}"
        self._client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        return bucket

    def put(self, bucket: str, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=bucket, Key=key, Body=content)

    def delete(self, bucket: str, key: str) -> None:
        self._client.delete_object(Bucket=bucket, Key=key)

    def keys(self, bucket: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def unfinished_uploads(self, bucket: str) -> list[str]:
        return [
            upload["Key"] for upload in self._client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        ]

    @contextmanager
    def refusing(self, refused: Callable[[Environ], bool]) -> Iterator[None]:
        """Answer the WSGI requests for which `refused` is true with "access denied", in the form of S3."""
        self._refused = refused
        try:
            yield
        finally:
            self._refused = lambda _: False

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: Environ, start_response: Any) -> Any:
        if self._refused(environ):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            deletes_several = environ["REQUEST_METHOD"] == "POST" and "delete" in environ["QUERY_STRING"]
            start_response("200 OK" if deletes_several else "403 Forbidden", [("Content-Type", "text/xml")])
            return [b"<DeleteResult>" + _REFUSAL + b"</DeleteResult>" if deletes_several else _REFUSAL]
        return self._moto(environ, start_response)


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """Start the store. The environment names its address for this process and those that it starts."""
    store = ObjectStore()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        environment.setenv("AWS_DEFAULT_REGION", REGION)
        environment.setenv("AWS_ENDPOINT_URL_S3", store.url)
        yield store
    store.stop()


@pytest.fixture
def bucket(object_store: ObjectStore) -> str:
    return object_store.new_bucket()
