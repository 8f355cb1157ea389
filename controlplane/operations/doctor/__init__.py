"""Doctor: compares the books with themselves and with the world outside, and puts right what is safe to."""

from controlplane.operations.doctor.examination import examine, lasting
from controlplane.operations.doctor.remedies import is_repairable, remedy
from controlplane.operations.doctor.repairs import Mend, note, repair
from controlplane.operations.doctor.reports import Ports, Report, Unseen

__all__ = [
    "Mend",
    "Ports",
    "Report",
    "Unseen",
    "examine",
    "is_repairable",
    "lasting",
    "note",
    "remedy",
    "repair",
]
