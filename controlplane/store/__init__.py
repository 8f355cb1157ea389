"""The only part that speaks SQL: rows in, domain objects out."""

from controlplane.store.new_jobs import NewJob, NewRows, rows_of
from controlplane.store.replicas import ReadyReplica
from controlplane.store.revisions import OpenRevision
from controlplane.store.store import Store
from controlplane.store.strays import StrayPlace
from controlplane.store.tx import Tx
from controlplane.store.views import (
    CheckpointRow,
    JobFilter,
    JobPage,
    JobPlace,
    JobView,
    MetricRow,
    NumberedMetric,
    OldJob,
    QueuedRows,
    QuotaNode,
    RankRow,
    ReasonRow,
    Remembered,
    Reporter,
    SecretRow,
    SigningKeyRow,
    TokenRow,
    UploadRow,
    WorkItem,
)

__all__ = [
    "CheckpointRow",
    "JobFilter",
    "JobPage",
    "JobPlace",
    "JobView",
    "MetricRow",
    "NewJob",
    "NewRows",
    "NumberedMetric",
    "OldJob",
    "OpenRevision",
    "QueuedRows",
    "QuotaNode",
    "RankRow",
    "ReadyReplica",
    "ReasonRow",
    "Remembered",
    "Reporter",
    "SecretRow",
    "SigningKeyRow",
    "Store",
    "StrayPlace",
    "TokenRow",
    "Tx",
    "UploadRow",
    "WorkItem",
    "rows_of",
]
