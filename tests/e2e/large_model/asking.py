"""Three ways to ask a served model for text, all through the gateway."""

import json
from dataclasses import dataclass

import grpc
import httpx

from controlplane.recipes.serving.inference_messages import SERVICE, message

SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    url: str
    grpc_address: str
    token: str
    service: str
    """In the project `default`."""

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def is_ready(self) -> bool:
        try:
            found = httpx.get(
                f"{self.url}/default/{self.service}/v2/health/ready", headers=self._headers, timeout=SECONDS
            )
        except httpx.TransportError:
            return False
        return found.is_success

    def by_rest(self, prompt: str, tokens: int) -> str:
        """The Open Inference Protocol."""
        body = {
            "inputs": [
                {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": [prompt]},
                {"name": "max_tokens", "datatype": "INT64", "shape": [1], "data": [tokens]},
            ]
        }
        path = f"default/{self.service}/v2/models/{self.service}/infer"
        answer = httpx.post(f"{self.url}/{path}", json=body, headers=self._headers, timeout=SECONDS)
        answer.raise_for_status()
        return str(answer.json()["outputs"][0]["data"][0])

    def by_events(self, prompt: str, tokens: int) -> list[str]:
        """OpenAI's completions, piece by piece as server-sent events."""
        body = {
            "model": f"default/{self.service}",
            "prompt": prompt,
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
        }
        with httpx.stream(
            "POST", f"{self.url}/v1/completions", json=body, headers=self._headers, timeout=SECONDS
        ) as answer:
            answer.raise_for_status()
            said = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
        *chunks, end = said
        if end != "[DONE]":
            raise ValueError(f"the stream ended with {end!r}")
        pieces = [json.loads(chunk)["choices"][0]["text"] for chunk in chunks]
        return [piece for piece in pieces if piece]

    def by_grpc(self, prompt: str, tokens: int) -> str:
        """The Open Inference Protocol's `ModelInfer`."""
        request = message("ModelInferRequest")(model_name=self.service)
        asked = request.inputs.add(name="prompt", datatype="BYTES", shape=[1])
        asked.contents.bytes_contents.append(prompt.encode())
        bound = request.inputs.add(name="max_tokens", datatype="INT64", shape=[1])
        bound.contents.int64_contents.append(tokens)
        told = (("authorization", f"Bearer {self.token}"), ("crossdock-service", f"default/{self.service}"))
        with grpc.insecure_channel(self.grpc_address, (("grpc.enable_http_proxy", 0),)) as channel:
            infer = channel.unary_unary(
                f"/{SERVICE}/ModelInfer",
                request_serializer=message("ModelInferRequest").SerializeToString,
                response_deserializer=message("ModelInferResponse").FromString,
            )
            answer = infer(request, metadata=told, timeout=SECONDS)
        return bytes(answer.outputs[0].contents.bytes_contents[0]).decode()
