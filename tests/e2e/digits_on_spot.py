"""A user's training: reads digits, data parallel; saves to its cloud's object store when it is told to stop.

Alone it also runs without any platform, and says what accuracy is to be had.
"""

import io
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import alibabacloud_oss_v2 as oss
import boto3
import httpx
import torch
from botocore.config import Config
from sklearn.datasets import load_digits
from torch import distributed, nn

STEPS, BATCH, SAVE_EVERY = 240, 256, 60
PAUSE_SECONDS = 0.5
"""After each step of a first attempt, which is to be taken from its machines before it is through."""

METADATA = "http://100.100.100.200/latest"
REGION = "cn-hangzhou"


def main() -> int:
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1:
        distributed.init_process_group("gloo")
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    pixels, labels, held_pixels, held_labels = images()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    step = resumed(net, optimizer)
    rank = int(os.environ.get("RANK", "0"))
    while step < STEPS:
        torch.manual_seed(step)
        batch = torch.randperm(len(labels))[:BATCH][rank::ranks]
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(pixels[batch]), labels[batch]).backward()
        asked = summed(net, ranks, torch.tensor(float(bool(stop))))
        optimizer.step()
        step += 1
        if rank == 0 and (step % SAVE_EVERY == 0 or asked or step == 10):
            save(net, optimizer, step)
        if asked:
            say(f"rank {rank} stopped after step {step}")
            return 128 + signal.SIGTERM
        if os.environ.get("CROSSDOCK_ATTEMPT_NUMBER") == "1":
            threading.Event().wait(PAUSE_SECONDS)
    if rank == 0:
        accuracy = (net(held_pixels).argmax(1) == held_labels).float().mean().item()
        say(f"final accuracy {accuracy:.4f}")
    return 0


def images() -> tuple[torch.Tensor, ...]:
    bunch = load_digits()
    pixels = torch.tensor(bunch.data / 16, dtype=torch.float32)
    labels = torch.tensor(bunch.target)
    held = torch.arange(len(labels)) % 5 == 0
    return pixels[~held], labels[~held], pixels[held], labels[held]


def summed(net: nn.Module, ranks: int, asked: torch.Tensor) -> bool:
    """Averages the gradients; whether any rank was asked to stop, which all learn at the same step."""
    if ranks > 1:
        for each in net.parameters():
            assert each.grad is not None
            distributed.all_reduce(each.grad)
            each.grad /= ranks
        distributed.all_reduce(asked)
    return asked.item() > 0


def resumed(net: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    uri = os.environ.get("CROSSDOCK_RESUME_FROM")
    if not uri:
        return 0
    state = torch.load(io.BytesIO(read(uri)))
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    say(f"resumes at step {state['step']} from {uri}")
    return int(state["step"])


def save(net: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    if "CROSSDOCK_CHECKPOINT_URI" not in os.environ:
        return
    content = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, content)
    uri = f"{os.environ['CROSSDOCK_CHECKPOINT_URI']}/{os.environ['CROSSDOCK_ATTEMPT_ID']}/{step}.pt"
    write(uri, content.getvalue())
    with Path(os.environ["CROSSDOCK_RECORDS"]).open("a") as records:
        records.write(json.dumps({"kind": "checkpoint", "uri": uri, "step": step}) + "\n")


def read(uri: str) -> bytes:
    kind, bucket, key = parts(uri)
    if kind == "s3":
        return bytes(s3().get_object(Bucket=bucket, Key=key)["Body"].read())
    return bytes(oss_client().get_object(oss.GetObjectRequest(bucket=bucket, key=key)).body.read())


def write(uri: str, content: bytes) -> None:
    kind, bucket, key = parts(uri)
    if kind == "s3":
        s3().put_object(Bucket=bucket, Key=key, Body=content)
        return
    oss_client().put_object(oss.PutObjectRequest(bucket=bucket, key=key, body=content))


def parts(uri: str) -> tuple[str, str, str]:
    kind, rest = uri.split("://")
    bucket, key = rest.split("/", 1)
    return kind, bucket, key


def s3() -> Any:  # noqa: ANN401 # boto3 is untyped
    """With the keys of the machine's own role, which the SDK asks the metadata service for."""
    path_style = Config(s3={"addressing_style": "path"})
    return boto3.client("s3", region_name="us-east-1", config=path_style)


def oss_client() -> oss.Client:
    """With the keys of the machine's own role."""
    role = told("meta-data/ram/security-credentials/")
    keys = json.loads(told(f"meta-data/ram/security-credentials/{role}"))
    config = oss.config.load_default()
    config.region = REGION
    config.endpoint = os.environ["OSS_ENDPOINT"]
    config.use_path_style = True
    config.credentials_provider = oss.credentials.StaticCredentialsProvider(
        keys["AccessKeyId"], keys["AccessKeySecret"], keys["SecurityToken"]
    )
    return oss.Client(config)


def told(path: str) -> str:
    lifetime = {"X-aliyun-ecs-metadata-token-ttl-seconds": "300"}
    token = httpx.put(f"{METADATA}/api/token", headers=lifetime).raise_for_status().text
    shown = {"X-aliyun-ecs-metadata-token": token}
    return httpx.get(f"{METADATA}/{path}", headers=shown).raise_for_status().text


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
