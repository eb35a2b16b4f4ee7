"""MPEG transport streams (ISO/IEC 13818-1): packets, tables, time stamps and the places to begin at."""

from streamproxy.formats.mpegts.index import Entry, Indexed, Indexer
from streamproxy.formats.mpegts.opening import opening
from streamproxy.formats.mpegts.packets import PACKET_SIZE, SYNC_BYTE, NotTransportStreamError, Packetizer, describe

__all__ = [
    "PACKET_SIZE",
    "SYNC_BYTE",
    "Entry",
    "Indexed",
    "Indexer",
    "NotTransportStreamError",
    "Packetizer",
    "describe",
    "opening",
]
