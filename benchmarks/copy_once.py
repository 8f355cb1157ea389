"""One copy from S3 to OSS, ours or with the raw SDKs; prints its seconds and the peak of this process's memory."""

import hashlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from controlplane.storage.base import Credentials, Place
from controlplane.storage.copier import SentPart, Transfer, complete, plan, send_parts
from controlplane.storage.oss import OssStore
from controlplane.storage.pace import Pace
from controlplane.storage.s3 import S3Store
from controlplane.storage.streams import from_pieces

ACCESS_KEY_ID: Final = "bench"
SECRET: Final = "bench-secret"  # noqa: S105 - of a server that ends with the benchmark
BUCKET: Final = "bench"
KEY: Final = "model"
CREDENTIALS: Final = Credentials(access_key_id=ACCESS_KEY_ID, secret=SECRET)
MEBIBYTE: Final = 2**20


def fill(source: str, mebibytes: int) -> None:
    store = _s3(source)
    store.put(KEY, from_pieces(_blocks(mebibytes)))
    store.close()


def copier(source: str, target: str) -> None:
    s3, oss = _s3(source), _oss(target)
    info = s3.head(KEY)
    transfer = Transfer(
        source=s3,
        source_key=KEY,
        source_etag=info.etag,
        target=oss,
        target_key=KEY,
        upload_id=oss.begin_parts(KEY),
        plan=plan(info.size_bytes, oss.limits),
    )
    sent: dict[int, SentPart] = {}
    send_parts(
        transfer,
        transfer.plan.numbers,
        keep=lambda part: sent.__setitem__(part.number, part),
        goes_on=lambda: True,
        pace=Pace(None, clock=time.monotonic, sleep=time.sleep),
    )
    complete(transfer, sent)


def raw(source: str, target: str) -> None:
    """As their manuals say, with their own defaults."""
    s3, oss = _s3(source), _oss(target)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / KEY)
        s3._client.download_file(BUCKET, KEY, path)  # noqa: SLF001 - the same settings of the same client
        sdk = oss._sdk  # noqa: SLF001 - likewise
        request = sdk.PutObjectRequest(bucket=BUCKET, key=f"{KEY}-raw")
        oss._client.uploader().upload_file(request, filepath=path)  # noqa: SLF001 - likewise


def _s3(url: str) -> S3Store:
    return S3Store(Place(bucket=BUCKET, region="us-east-1", endpoint=url, credentials=CREDENTIALS))


def _oss(url: str) -> OssStore:
    return OssStore(Place(bucket=BUCKET, region="cn-hangzhou", endpoint=url, credentials=CREDENTIALS))


def _blocks(count: int) -> Iterator[bytes]:
    base = hashlib.sha256().digest() * (MEBIBYTE // 32)
    return (number.to_bytes(8, "big") + base[8:] for number in range(count))


if __name__ == "__main__":
    how, source_url, target_url = sys.argv[1:]
    began = time.monotonic()
    {"copier": copier, "raw": raw}[how](source_url, target_url)
    seconds = time.monotonic() - began
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes}))
