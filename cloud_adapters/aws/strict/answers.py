"""Answers as AWS gives them: XML of EC2, JSON of the younger services, and refusals in the form of each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

NAMESPACE: Final = "http://ec2.amazonaws.com/doc/2016-11-15/"
REQUEST_ID: Final = "00000000-0000-4000-8000-000000000000"
JSON_SERVICES: Final = frozenset({"pricing", "servicequotas", "eks"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    http_code: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Refusal(Exception):
    """What AWS says instead of doing it."""

    def __init__(self, code: str, message: str, http_code: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.http_code = http_code


def refused(service: str, refusal: Refusal) -> Reply:
    if service in JSON_SERVICES:
        body = json.dumps({"__type": refusal.code, "code": refusal.code, "message": refusal.message}).encode()
        headers = (("x-amzn-ErrorType", refusal.code),)
        return Reply(
            http_code=refusal.http_code, content_type="application/x-amz-json-1.1", body=body, headers=headers
        )
    error = f"<Code>{escape(refusal.code)}</Code><Message>{escape(refusal.message)}</Message>"
    if service == "ec2":
        text = (
            f"<Response><Errors><Error>{error}</Error></Errors><RequestID>{REQUEST_ID}</RequestID></Response>"
        )
    else:
        text = f"<ErrorResponse><Error>{error}</Error><RequestId>{REQUEST_ID}</RequestId></ErrorResponse>"
    return Reply(http_code=refusal.http_code, content_type="text/xml", body=text.encode())


def xml(action: str, content: Mapping[str, Any]) -> Reply:
    """An answer of EC2. Lists become `item`s, None is left out."""
    inner = _element("requestId", REQUEST_ID) + "".join(
        _element(key, value) for key, value in content.items()
    )
    text = f'<{action}Response xmlns="{NAMESPACE}">{inner}</{action}Response>'
    return Reply(http_code=200, content_type="text/xml", body=text.encode())


def document(content: Mapping[str, Any]) -> Reply:
    body = json.dumps(content).encode()
    return Reply(http_code=200, content_type="application/x-amz-json-1.1", body=body)


def tag_set(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in sorted(tags.items())]


def fits(filters: Mapping[str, Sequence[str]], facts: Mapping[str, str], tags: Mapping[str, str]) -> bool:
    """Whether a thing is meant by EC2's filters, each by one of its values. An unknown filter is refused."""
    for name, values in filters.items():
        if name.startswith("tag:"):
            actual = tags.get(name.removeprefix("tag:"))
        elif name in facts:
            actual = facts[name]
        else:
            raise Refusal("InvalidParameterValue", f"The filter '{name}' is invalid")
        if actual not in values:
            return False
    return True


def parsed(reply: Reply) -> ET.Element:
    """Without namespaces, of which moto has several."""
    root = ET.fromstring(reply.body)  # noqa: S314 # our own server's answer
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _element(name: str, value: Any) -> str:  # noqa: ANN401 # what an answer is made of
    match value:
        case None:
            return ""
        case dict():
            inner = "".join(_element(key, each) for key, each in value.items())
        case list() | tuple():
            inner = "".join(_element("item", each) for each in value)
        case _:
            inner = escape(str(value))
    return f"<{name}>{inner}</{name}>"
