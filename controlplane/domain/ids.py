"""Ids: opaque strings that the type checker keeps apart."""

from typing import NewType

ProjectId = NewType("ProjectId", str)
QueueId = NewType("QueueId", str)
JobId = NewType("JobId", str)
AskId = NewType("AskId", str)
AttemptId = NewType("AttemptId", str)
ClusterId = NewType("ClusterId", str)
NodeId = NewType("NodeId", str)
ClaimId = NewType("ClaimId", str)
LaunchId = NewType("LaunchId", str)
CopyId = NewType("CopyId", str)
InputId = NewType("InputId", str)
ModelId = NewType("ModelId", str)
ModelVersionId = NewType("ModelVersionId", str)
ExecutionId = NewType("ExecutionId", str)
StepId = NewType("StepId", str)
ScheduleId = NewType("ScheduleId", str)
LeaseId = NewType("LeaseId", str)
TokenId = NewType("TokenId", str)
SecretId = NewType("SecretId", str)
ClassId = NewType("ClassId", str)
"""An equivalence class of asks: same queue, amounts, task count and constraints, so same answer from a policy."""
ServiceId = NewType("ServiceId", str)
RevisionId = NewType("RevisionId", str)
