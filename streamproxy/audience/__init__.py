"""Who watches what, and what has been served since the start."""

from streamproxy.audience.audience import Attendance, Audience
from streamproxy.audience.client import Client, Viewer, Visitor
from streamproxy.audience.record import BY_HAND, Counters, StreamRecord

__all__ = ["BY_HAND", "Attendance", "Audience", "Client", "Counters", "StreamRecord", "Viewer", "Visitor"]
