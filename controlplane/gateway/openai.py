"""The OpenAI-compatible way in: the model's name, `project/service`, says which service is meant."""

import json
from collections.abc import Iterable
from typing import Any, Final

from controlplane.domain.errors import Invalid
from controlplane.domain.traffic import ServiceRoute

GENERATIONS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
MODELS: Final = "/v1/models"


def model_of(content: bytes) -> tuple[str, str, dict[str, Any]]:  # JSON
    """Project, service, and the request. Raises `Invalid`."""
    try:
        document = json.loads(content)
    except ValueError as error:
        raise Invalid(f"is no JSON: {error}", field="body") from error
    model = document.get("model") if isinstance(document, dict) else None
    project, slash, name = model.partition("/") if isinstance(model, str) else ("", "", "")
    if not (project and slash and name):
        value = model if isinstance(model, str) else None
        raise Invalid("must be project/service", field="model", value=value)
    return project, name, document


def for_replica(document: dict[str, Any], name: str) -> bytes:  # JSON
    """A replica knows its model by the service's name alone."""
    return json.dumps(document | {"model": name}).encode()


def listing(routes: Iterable[ServiceRoute]) -> bytes:
    models = [
        {"id": f"{each.project}/{each.name}", "object": "model", "created": 0, "owned_by": each.project}
        for each in sorted(routes, key=lambda each: (each.project, each.name))
    ]
    return json.dumps({"object": "list", "data": models}).encode()
