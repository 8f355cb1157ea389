"""URIs of objects are read strictly, and a prefix covers whole parts of keys."""

import pytest

from controlplane.domain.errors import Invalid
from controlplane.storage.uris import Kind, ObjectUri, covers, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/a/b", ObjectUri(kind=Kind.S3, bucket="bucket", key="a/b")),
        ("oss://my-bucket/a/", ObjectUri(kind=Kind.OSS, bucket="my-bucket", key="a/")),
        ("s3://bucket", ObjectUri(kind=Kind.S3, bucket="bucket", key="")),
        ("s3://bucket/", ObjectUri(kind=Kind.S3, bucket="bucket", key="")),
        ("file:///data/set", ObjectUri(kind=Kind.FILE, bucket="", key="data/set")),
    ],
)
def test_what_is_a_uri_is_read(text: str, expected: ObjectUri) -> None:
    assert parse(text) == expected
    assert parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("bucket/key", "begin it with"),
        ("gs://bucket/key", "begin it with one of s3://, oss://, file://"),
        ("s3:///key", "no bucket"),
        ("s3://UPPER/key", "no bucket"),
        ("s3://b/key", "3 to 63"),
        ("s3://bucket/a//b", "not a key"),
        ("s3://bucket/../x", "not a key"),
        ("s3://bucket//", "two '/'"),
        ("file://host/path", "no host"),
        ("file://", "no host"),
    ],
)
def test_what_is_no_uri_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as caught:
        parse(text)
    assert (caught.value.field, caught.value.value) == ("uri", text)


@pytest.mark.parametrize(
    ("prefix", "uri", "expected"),
    [
        ("s3://bucket", "s3://bucket/a", True),
        ("s3://bucket/a", "s3://bucket/a/b", True),
        ("s3://bucket/a/", "s3://bucket/a/b", True),
        ("s3://bucket/a", "s3://bucket/a", True),
        ("s3://bucket/a", "s3://bucket/ab", False),
        ("s3://bucket/a", "s3://bucket2/a", False),
        ("s3://bucket/a", "oss://bucket/a", False),
        ("file:///data", "file:///data/x", True),
        ("file:///data", "file:///database", False),
    ],
)
def test_a_prefix_covers_whole_parts_of_keys(prefix: str, uri: str, *, expected: bool) -> None:
    assert covers(parse(prefix), parse(uri)) is expected
