"""Lists that span pages: whole, or an error."""

from collections.abc import Iterator, Mapping, Sequence

from cloud_adapters.alibaba import translate
from cloud_adapters.alibaba.client import Account
from cloud_adapters.alibaba.translate import Row
from cloud_adapters.base import Transient

PAGE = 100
"""The most that ECS gives at once."""


def paged(
    account: Account, action: str, parameters: Mapping[str, object], path: tuple[str, str], *, until: float
) -> Iterator[Row]:
    """Follows NextToken. Raises `Transient` when the pages go round in a circle."""
    token: str | None = None
    seen: set[str] = set()
    while True:
        turned = {} if token is None else {"NextToken": token}
        answer = account.call(action, {**parameters, "MaxResults": PAGE, **turned}, until=until)
        yield from translate.rows(answer, *path)
        token = answer.get("NextToken") or None
        if token is None:
            return
        if token in seen:
            raise Transient(f"{action}: page {token} came twice")
        seen.add(token)


def machine_rows(
    account: Account, cluster_id: str, claim_id: str | None = None, *, until: float
) -> tuple[Row, ...]:
    """Those with our tags, by name, each once: a page may repeat what moved while we turned it."""
    wanted = {"Tag": translate.tag_filter(cluster_id, claim_id)}
    path = ("Instances", "Instance")
    found = {row["InstanceId"]: row for row in paged(account, "DescribeInstances", wanted, path, until=until)}
    return tuple(found[name] for name in sorted(found))


def failed_creations(account: Account, machines: Sequence[Row], *, until: float) -> dict[str, str]:
    """Why machines that still wait will never come. Asks only when some wait."""
    waiting = [str(row["InstanceId"]) for row in machines if row.get("Status") == "Pending"]
    found: dict[str, str] = {}
    for start in range(0, len(waiting), PAGE):
        wanted = {
            "ResourceType": "instance",
            "ResourceId": waiting[start : start + PAGE],
            "InstanceEventType": [translate.FAILED_CREATION],
            "PageSize": PAGE,
        }
        found |= translate.failures(account.call("DescribeInstanceHistoryEvents", wanted, until=until))
    return found
