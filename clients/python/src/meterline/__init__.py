"""Exact billing for agents: records usage in Meterline so that it counts once.

>>> from meterline import Meterline
>>> with Meterline() as meterline:  # METERLINE_URL, METERLINE_API_KEY
...     summary = meterline.metered(
...         lambda: summarise(text), "cus_…", "document_processed", job_id="job-7"
...     ).result
"""

from ._async_client import AsyncMeterline
from ._client import Meterline
from ._events import UsageEvent, event_id_of_job
from ._outcomes import (
    Access,
    Metered,
    Recorded,
    Reservation,
    ReservationOutcome,
    ReservationStatus,
    SpendingLimit,
    SpendingLimitAlert,
    SpoolState,
    Status,
)
from ._settings import Buffer
from ._version import VERSION
from .errors import (
    AccessDenied,
    Closed,
    InvalidUsage,
    LimitReached,
    MeterlineError,
    PerhapsRecorded,
    Problem,
    Refused,
    SpoolFailed,
    Unavailable,
)

__version__ = VERSION

__all__ = [
    "Access",
    "AccessDenied",
    "AsyncMeterline",
    "Buffer",
    "Closed",
    "InvalidUsage",
    "LimitReached",
    "Metered",
    "Meterline",
    "MeterlineError",
    "PerhapsRecorded",
    "Problem",
    "Recorded",
    "Refused",
    "Reservation",
    "ReservationOutcome",
    "ReservationStatus",
    "SpendingLimit",
    "SpendingLimitAlert",
    "SpoolFailed",
    "SpoolState",
    "Status",
    "Unavailable",
    "UsageEvent",
    "__version__",
    "event_id_of_job",
]
