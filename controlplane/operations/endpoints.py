"""Endpoints: how a cluster is dialled; its address is a row, its token is sealed."""

from dataclasses import replace

from controlplane.domain.clusters import Cluster, Endpoint
from controlplane.domain.ids import SecretId
from controlplane.operations.services import Services
from controlplane.secrets.sealer import Envelope
from controlplane.store import Tx


def endpoint_of(services: Services, cluster: Cluster) -> Endpoint | None:
    """None while nobody has said where the cluster listens."""
    if cluster.url is None:
        return None
    with services.store.read() as tx:
        token = _token(services, tx, cluster)
    return Endpoint(url=cluster.url, token=token, gpu_resource=cluster.gpu_resource, session=cluster.session)


def keep_endpoint(services: Services, tx: Tx, cluster: Cluster, endpoint: Endpoint) -> Cluster:
    """Stores the token when it is new, and returns the cluster as it should be saved."""
    known = replace(cluster, url=endpoint.url, gpu_resource=endpoint.gpu_resource)
    if endpoint.token is None or endpoint.token == _token(services, tx, cluster):
        return known
    return replace(known, secret_id=seal_token(services, tx, endpoint.token))


def seal_token(services: Services, tx: Tx, token: str) -> SecretId:
    secret_id = SecretId(services.ids.new("secret"))
    envelope = services.sealer.seal(secret_id, token.encode())
    tx.secrets.put(
        secret_id,
        key_id=envelope.key_id,
        wrapped_key=envelope.wrapped_key,
        nonce=envelope.nonce,
        ciphertext=envelope.ciphertext,
    )
    return secret_id


def _token(services: Services, tx: Tx, cluster: Cluster) -> str | None:
    row = tx.secrets.get(cluster.secret_id) if cluster.secret_id else None
    if row is None:
        return None
    envelope = Envelope(
        key_id=row.key_id, wrapped_key=row.wrapped_key, nonce=row.nonce, ciphertext=row.ciphertext
    )
    return services.sealer.unseal(row.id, envelope).decode()
