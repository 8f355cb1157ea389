"""Requests as AWS gets them: which service, action and region, who signed it, and whether the signature is right."""

import hashlib
import hmac
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

Environ = dict[str, Any]
"""Of WSGI."""

ALGORITHM: Final = "AWS4-HMAC-SHA256"
SAFE: Final = "-_.~"
REST: Final[Mapping[tuple[str, str], str]] = {("eks", "GET"): "DescribeCluster"}
"""Services without an action in body or header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    service: str
    region: str
    action: str
    access_key: str
    fields: Mapping[str, str]
    """Of a form, flat: `Filter.1.Name`."""

    document: Mapping[str, Any]
    """Of a JSON body."""

    body: bytes
    environ: Environ = field(repr=False)

    @property
    def right(self) -> str:
        """As an IAM policy calls it."""
        return f"{self.service}:{self.action}"

    def listed(self, prefix: str) -> list[str]:
        """Values of `Prefix.1`, `Prefix.2`, in order."""
        found: list[str] = []
        while (key := f"{prefix}.{len(found) + 1}") in self.fields:
            found.append(self.fields[key])
        return found

    def filters(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        number = 1
        while (key := f"Filter.{number}") and f"{key}.Name" in self.fields:
            found[self.fields[f"{key}.Name"]] = self.listed(f"{key}.Value")
            number += 1
        return found

    def tags_for(self, resource: str) -> dict[str, str]:
        """Of the tag specifications for one kind of thing."""
        found: dict[str, str] = {}
        number = 1
        while f"TagSpecification.{number}.ResourceType" in self.fields:
            prefix = f"TagSpecification.{number}"
            if self.fields[f"{prefix}.ResourceType"] == resource:
                found |= self._pairs(f"{prefix}.Tag")
            number += 1
        return found

    def _pairs(self, prefix: str) -> dict[str, str]:
        found = {}
        number = 1
        while f"{prefix}.{number}.Key" in self.fields:
            found[self.fields[f"{prefix}.{number}.Key"]] = self.fields.get(f"{prefix}.{number}.Value", "")
            number += 1
        return found

    def with_fields(self, fields: Mapping[str, str]) -> Environ:
        """The same request with another form, for whoever reads it next."""
        body = urlencode(fields).encode()
        return {**self.environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}


def read(environ: Environ) -> Request | None:
    """None where nobody signed it, in header or query."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    credential = _signature_of(environ, query).get("Credential", "")
    access_key, _, scope = credential.partition("/")
    parts = scope.split("/")
    if len(parts) != 4:  # noqa: PLR2004 # date, region, service, terminator
        return None
    content_type = environ.get("CONTENT_TYPE") or ""
    fields = query | (
        dict(parse_qsl(body.decode(), keep_blank_values=True)) if "form" in content_type else {}
    )
    target = str(environ.get("HTTP_X_AMZ_TARGET", "")).rpartition(".")[2]
    return Request(
        service=parts[2],
        region=parts[1],
        action=fields.get("Action") or target or REST.get((parts[2], environ["REQUEST_METHOD"]), "?"),
        access_key=access_key,
        fields=fields,
        document=json.loads(body) if "json" in content_type and body else {},
        body=body,
        environ=environ,
    )


def is_signed_with(request: Request, secret: str) -> bool:
    """Signature version 4 of AWS: over method, path, query, the signed headers and the body's hash."""
    environ = request.environ
    query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    signature = _signature_of(environ, dict(query))
    names = signature["SignedHeaders"].split(";")
    is_presigned = "HTTP_AUTHORIZATION" not in environ
    canonical = "\n".join(
        (
            environ["REQUEST_METHOD"],
            quote(environ.get("PATH_INFO") or "/", safe="/" + SAFE),
            "&".join(
                f"{_quoted(key)}={_quoted(value)}" for key, value in sorted(query) if key != "X-Amz-Signature"
            ),
            "".join(f"{name}:{' '.join(_header(environ, name).split())}\n" for name in names),
            ";".join(names),
            hashlib.sha256(b"" if is_presigned else request.body).hexdigest(),
        )
    )
    moment = dict(query).get("X-Amz-Date") or _header(environ, "x-amz-date")
    _, day, region, service, end = signature["Credential"].split("/")
    text = "\n".join(
        (ALGORITHM, moment, f"{day}/{region}/{service}/{end}", hashlib.sha256(canonical.encode()).hexdigest())
    )
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, end):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    expected = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, signature.get("Signature", ""))


def session_token(request: Request) -> str | None:
    in_query = dict(parse_qsl(request.environ.get("QUERY_STRING", ""))).get("X-Amz-Security-Token")
    return in_query or request.environ.get("HTTP_X_AMZ_SECURITY_TOKEN")


def _signature_of(environ: Environ, query: Mapping[str, str]) -> dict[str, str]:
    algorithm, _, rest = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
    if algorithm == ALGORITHM:
        pairs = (part.strip().partition("=") for part in rest.split(","))
        return {key: value for key, _, value in pairs}
    return {name: query.get(f"X-Amz-{name}", "") for name in ("Credential", "SignedHeaders", "Signature")}


def _header(environ: Environ, name: str) -> str:
    if name == "content-type":
        return str(environ.get("CONTENT_TYPE", ""))
    if name == "content-length":
        return str(environ.get("CONTENT_LENGTH", ""))
    return str(environ.get("HTTP_" + name.upper().replace("-", "_"), ""))


def _quoted(text: str) -> str:
    return quote(text, safe=SAFE)
