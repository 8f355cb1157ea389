"""URIs of objects: which kind of store, which bucket, which key."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controlplane.domain.errors import Invalid
from controlplane.storage.base import check_key

BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""What both clouds allow; OSS alone refuses dots."""


class Kind(StrEnum):
    S3 = "s3"
    OSS = "oss"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectUri:
    kind: Kind
    bucket: str
    """Empty for files."""

    key: str
    """Below the bucket, or below `/`. May be empty or end with `/`: then it is a prefix."""

    def __str__(self) -> str:
        return f"{self.kind}://{self.bucket}/{self.key}"

    @property
    def is_prefix(self) -> bool:
        return not self.key or self.key.endswith("/")


def parse(text: str) -> ObjectUri:
    """Reads `s3://bucket/key`, `oss://bucket/key` and `file:///absolute/path`. Raises `Invalid`."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in set(Kind):
        raise _invalid(text, f"begin it with one of {', '.join(f'{kind}://' for kind in Kind)}")
    bucket, slash, key = rest.partition("/")
    kind = Kind(scheme)
    if kind is Kind.FILE:
        if bucket or not slash:
            raise _invalid(text, "a file has no host: file:///absolute/path")
    elif not BUCKET.fullmatch(bucket):
        raise _invalid(text, f"{bucket!r} is no bucket: 3 to 63 of a-z, 0-9, '.' and '-'")
    if key.rstrip("/"):
        try:
            check_key(key.removesuffix("/"))
        except Invalid as error:
            raise _invalid(text, error.message) from error
    elif key:
        raise _invalid(text, "two '/' follow each other")
    return ObjectUri(kind=kind, bucket=bucket, key=key)


def covers(prefix: ObjectUri, uri: ObjectUri) -> bool:
    """True if `uri` is at or below `prefix`; whole parts of the key are compared, so `a` does not cover `ab`."""
    if (prefix.kind, prefix.bucket) != (uri.kind, uri.bucket):
        return False
    top = prefix.key.rstrip("/")
    return not top or uri.key == top or uri.key.startswith(f"{top}/")


def _invalid(text: str, why: str) -> Invalid:
    return Invalid(f"{text!r} is not a URI of an object: {why}", field="uri", value=text)
