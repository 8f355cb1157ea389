"""Settings of a Kubernetes cluster: from the pairs of its row to typed values."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from cloud_adapters.base import MILLI, Amounts, Rejected

GIBIBYTE: Final = 2**30
DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
CUSTOM_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
LABEL_KEY: Final = re.compile(
    r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)


FOR_CREDENTIALS: Final = "credentials."
HEAD: Final = Amounts(cpu_milli=MILLI, memory_bytes=4 * GIBIBYTE)


class Reach(StrEnum):
    PROXY = "proxy"
    """Through the API server's service proxy: whoever reaches the API server reaches Ray."""

    DIRECT = "direct"
    """At an address of its own, which `direct_url` spells."""


class KubeRay(StrEnum):
    AUTO = "auto"
    """If the API server knows RayClusters."""

    YES = "yes"
    NO = "no"
    """Plain pods, even where KubeRay is installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    namespace: str = "crossdock"
    context: str | None = None
    """Of the kubeconfig; None: its current one."""

    credentials: str | None = None
    """Who makes the kubeconfig, from the secret: a plugin of `cloud_adapters.admissions`. None: the secret is one."""

    credentials_settings: tuple[tuple[str, str], ...] = ()
    """What that plugin is told."""

    image: str | None = None
    """Of Ray's containers; None: Ray's own, of `ray_version`."""

    ray_version: str = "2.60.0"
    service_account: str | None = None
    """That Ray's pods run under; None: the namespace's default, whose token they do not get."""

    kuberay: KubeRay = KubeRay.AUTO
    kueue_queue: str | None = None
    """Where Kueue runs: the LocalQueue that everything we build waits in."""

    managed_by: str | None = None
    """Where MultiKueue runs: who shall act on our RayClusters."""

    node_selector: tuple[tuple[str, str], ...] = ()
    """Only nodes with these labels are lent."""

    gpu_resource: str = "nvidia.com/gpu"
    gpu_units: int = 1
    """So many units of `gpu_resource` make one GPU; more than 1 where GPUs are shared by time slicing."""

    accelerator_label: str = "nvidia.com/gpu.product"
    custom_resources: tuple[tuple[str, str], ...] = ()
    """(our name, extended resource): MIG slices and whatever else is counted."""

    head: Amounts = HEAD
    """What Ray's head takes beside the members."""

    reach: Reach = Reach.PROXY
    direct_url: str | None = None
    """With `{service}` and `{namespace}` in it."""

    @property
    def ray_image(self) -> str:
        return self.image or f"rayproject/ray:{self.ray_version}"


def settings_of(pairs: Iterable[tuple[str, str]]) -> Settings:
    """Raises `Rejected` naming the setting, its value and what is allowed."""
    given = dict(pairs)
    told = {name: given.pop(name) for name in list(given) if name.startswith(FOR_CREDENTIALS)}
    if told and "credentials" not in given:
        raise Rejected(f"setting {min(told)} is for credentials, and the setting `credentials` names none")
    if unknown := sorted(given.keys() - READERS.keys()):
        raise Rejected(f"a Kubernetes cluster has no settings {', '.join(unknown)}")
    read: dict[str, Any] = {name: READERS[name](name, value) for name, value in given.items()}
    head = Amounts(
        cpu_milli=read.pop("head_cpu_milli", HEAD.cpu_milli),
        memory_bytes=read.pop("head_memory_bytes", HEAD.memory_bytes),
    )
    for_credentials = tuple(
        (name.removeprefix(FOR_CREDENTIALS), value) for name, value in sorted(told.items())
    )
    settings = Settings(**read, head=head, credentials_settings=for_credentials)
    if (settings.reach is Reach.DIRECT) != (settings.direct_url is not None):
        raise Rejected("reach `direct` needs the setting `direct_url`, and only that reach does")
    return settings


def _text(name: str, value: str) -> str:
    if not value or any(letter.isspace() for letter in value):
        raise Rejected(f"setting {name} must be a text without spaces, not {value!r}")
    return value


def _dns_label(name: str, value: str) -> str:
    if not DNS_LABEL.fullmatch(value):
        raise Rejected(f"setting {name} must be 1-63 of a-z, 0-9, '-', not {value!r}")
    return value


def _label_key(name: str, value: str) -> str:
    if not LABEL_KEY.fullmatch(value):
        raise Rejected(f"setting {name} must be a Kubernetes label or resource name, not {value!r}")
    return value


def _number(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 2**50:
        raise Rejected(f"setting {name} must be a whole number from 1 to {2**50}, not {value!r}")
    return int(value)


def _reach(name: str, value: str) -> Reach:
    return Reach(_one_of(name, value, tuple(Reach)))


def _kuberay(name: str, value: str) -> KubeRay:
    return KubeRay(_one_of(name, value, tuple(KubeRay)))


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise Rejected(f"setting {name} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def _labels(name: str, value: str) -> tuple[tuple[str, str], ...]:
    pairs = _pairs(name, value)
    for key, _ in pairs:
        _label_key(name, key)
    return pairs


def _customs(name: str, value: str) -> tuple[tuple[str, str], ...]:
    pairs = _pairs(name, value)
    for ours, theirs in pairs:
        if not CUSTOM_NAME.fullmatch(ours):
            raise Rejected(f"setting {name} maps our names, 1-63 of a-z, 0-9, '.', '_', '-', not {ours!r}")
        _label_key(name, theirs)
    if len(dict(pairs)) < len(pairs):
        raise Rejected(f"setting {name} maps a name twice: {value!r}")
    return pairs


def _pairs(name: str, value: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for part in filter(None, (each.strip() for each in value.split(","))):
        key, sign, text = part.partition("=")
        if not sign:
            raise Rejected(f"setting {name} must be pairs such as key=value,key=value, not {value!r}")
        pairs.append((key.strip(), text.strip()))
    return tuple(sorted(pairs))


READERS: Final[Mapping[str, Callable[[str, str], object]]] = {
    "namespace": _dns_label,
    "context": _text,
    "credentials": _dns_label,
    "image": _text,
    "ray_version": _text,
    "service_account": _dns_label,
    "kuberay": _kuberay,
    "kueue_queue": _dns_label,
    "managed_by": _label_key,
    "node_selector": _labels,
    "gpu_resource": _label_key,
    "gpu_units": _number,
    "accelerator_label": _label_key,
    "custom_resources": _customs,
    "head_cpu_milli": _number,
    "head_memory_bytes": _number,
    "reach": _reach,
    "direct_url": _text,
}
