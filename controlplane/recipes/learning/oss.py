"""OSS: whole objects in Alibaba Cloud's store, which pyarrow does not know.

`OSS_REGION` and `OSS_ENDPOINT` say where, else the machine's own region counts. Keys are those of
`OSS_ACCESS_KEY_ID` and its companions, else those of the machine's own role.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any, Final

import alibabacloud_oss_v2 as sdk

METADATA: Final = "100.100.100.200"
LIFETIME_HEADER: Final = "X-aliyun-ecs-metadata-token-ttl-seconds"
TOKEN_HEADER: Final = "X-aliyun-ecs-metadata-token"  # noqa: S105 - a name
LIFETIME_SECONDS: Final = 300
METADATA_SECONDS: Final = 5.0
MARGIN: Final = timedelta(minutes=5)
"""Before lent keys end, new ones are asked for."""


def read(uri: str) -> bytes:
    """Raises FileNotFoundError, and OSError for an answer that was cut short."""
    bucket, key = parts(uri)
    try:
        answer = _client().get_object(sdk.GetObjectRequest(bucket=bucket, key=key))
    except sdk.exceptions.OperationError as problem:
        if _is_absent(problem):
            raise FileNotFoundError(uri) from problem
        raise
    content: bytes = answer.body.read()
    if len(content) != answer.content_length:
        raise OSError(f"{uri}: {len(content)} of {answer.content_length} bytes came")
    return content


def exists(uri: str) -> bool:
    bucket, key = parts(uri)
    try:
        _client().head_object(sdk.HeadObjectRequest(bucket=bucket, key=key))
    except sdk.exceptions.OperationError as problem:
        if _is_absent(problem):
            return False
        raise
    return True


def write(uri: str, content: bytes) -> None:
    """Whole or not at all; the SDK compares the store's CRC-64 with its own."""
    bucket, key = parts(uri)
    _client().put_object(sdk.PutObjectRequest(bucket=bucket, key=key, body=content))


def below(uri: str) -> list[str]:
    """URIs of all objects below a folder, in order."""
    bucket, key = parts(uri)
    asked = sdk.ListObjectsV2Request(bucket=bucket, prefix=f"{key.rstrip('/')}/")
    pages = _client().list_objects_v2_paginator().iter_page(asked)
    return [f"oss://{bucket}/{entry.key}" for page in pages for entry in page.contents or ()]


def parts(uri: str) -> tuple[str, str]:
    """Bucket and key."""
    bucket, _, key = uri.removeprefix("oss://").partition("/")
    return bucket, key


def _is_absent(problem: Any) -> bool:  # noqa: ANN401 - the SDK ships no types
    refused = problem.unwrap()
    return isinstance(refused, sdk.exceptions.ServiceError) and refused.code == "NoSuchKey"


@cache
def _client() -> Any:  # noqa: ANN401 - the SDK ships no types
    endpoint = os.environ.get("OSS_ENDPOINT")
    config = sdk.config.load_default()
    config.region = os.environ.get("OSS_REGION") or told("region-id")
    config.endpoint = endpoint
    config.use_path_style = endpoint is not None and "aliyuncs.com" not in endpoint
    if os.environ.get("OSS_ACCESS_KEY_ID"):
        config.credentials_provider = sdk.credentials.EnvironmentVariableCredentialsProvider()
    else:
        config.credentials_provider = sdk.credentials.CredentialsProviderFunc(func=RoleKeys().now)
    return sdk.Client(config)


class RoleKeys:
    """The keys that the machine's role lends for some hours."""

    def __init__(self, metadata: str = METADATA) -> None:
        """`metadata`: host and port of the service."""
        self._metadata = metadata
        self._keys: Any = None
        self._until = datetime.min.replace(tzinfo=UTC)

    def now(self) -> Any:  # noqa: ANN401 - the SDK's type
        if self._until - datetime.now(UTC) <= MARGIN:
            top = "ram/security-credentials/"
            role = told(top, self._metadata).strip()
            lent = json.loads(told(f"{top}{role}", self._metadata))
            self._keys = sdk.credentials.Credentials(
                lent["AccessKeyId"], lent["AccessKeySecret"], lent["SecurityToken"]
            )
            self._until = datetime.fromisoformat(lent["Expiration"])
        return self._keys


def told(path: str, metadata: str = METADATA) -> str:
    """By the machine's metadata service, in its hardened mode. Raises OSError where there is none."""
    token = _asked(metadata, "PUT", "/latest/api/token", {LIFETIME_HEADER: str(LIFETIME_SECONDS)})
    return _asked(metadata, "GET", f"/latest/meta-data/{path}", {TOKEN_HEADER: token})


def _asked(metadata: str, verb: str, path: str, headers: Mapping[str, str]) -> str:
    connection = HTTPConnection(metadata, timeout=METADATA_SECONDS)
    try:
        connection.request(verb, path, headers=dict(headers))
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK:
        raise OSError(f"the metadata service answered {answer.status} to {path}")
    return text
