"""Small XML: what the protocols of object stores say in bodies."""

from collections.abc import Iterator, Sequence
from typing import Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from controlplane.storage.shelf import Refusal

Fields = Sequence[tuple[str, "str | int | bool | Fields"]]

HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>'


def document(root: str, fields: Fields, *, namespace: str = "") -> bytes:
    opening = f'<{root} xmlns="{namespace}">' if namespace else f"<{root}>"
    return f"{HEAD}{opening}{_inside(fields)}</{root}>".encode()


def named_parts(text: bytes) -> list[tuple[int, str]]:
    """Numbers and etags of a CompleteMultipartUpload. Raises `Refusal`."""
    try:
        root = ET.fromstring(text)  # noqa: S314 - the stores' own clients send it, on loopback
    except ET.ParseError as error:
        raise Refusal(400, "MalformedXML", "The XML you provided was not well-formed.") from error
    return list(_parts(root))


def _parts(root: ET.Element) -> Iterator[tuple[int, str]]:
    for part in root.iter():
        if part.tag.rpartition("}")[2] != "Part":
            continue
        values = {child.tag.rpartition("}")[2]: child.text or "" for child in part}
        number = values.get("PartNumber", "")
        if not number.isdigit():
            raise Refusal(400, "MalformedXML", "A part has no number.")
        yield int(number), values.get("ETag", "").strip('"')


def _inside(fields: Fields) -> str:
    return "".join(f"<{name}>{_text(value)}</{name}>" for name, value in fields)


def _text(value: "str | int | bool | Fields") -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return escape(str(value))
    return _inside(value)
