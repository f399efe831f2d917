"""The grammar of items: what one WebSocket message of a leg says. Text is `str`, bytes are `bytes`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Iterator, Union

Data = Union[str, bytes]

SEQ_MAX = 2**53 - 1
CHUNKS_MAX = 1024
CONTROL_BYTES_MAX = 8 << 10
REASON_BYTES_MAX = 123

FAULT, SUPERSEDED, GAP, LOST, TOO_BIG = 4900, 4901, 4902, 4906, 4911
NO_STATUS = 1005

_TEXT = re.compile(r"([mnex])([1-9][0-9]{0,15});")
_BINARY = re.compile(rb"([mn])([1-9][0-9]{0,15});")
_ACK = re.compile(r"a(0|[1-9][0-9]{0,15})")
_NONCE = re.compile(r"[pq][0-9A-Za-z]{0,16}")
_END = re.compile(r"([1-9][0-9]{3});(.*)", re.DOTALL)


class Fault(Exception):
    """The peer broke the protocol; `code` is what to close with."""

    def __init__(self, code: int = FAULT) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Item:
    """One item: `kind` is its first letter, `seq` its number if it has one, `payload` the rest."""

    kind: str
    seq: int
    payload: Data

    def end(self) -> tuple[int, str]:
        """Code and reason of an end."""
        code, reason = str(self.payload).split(";", 1)
        return int(code), reason


def parse(message: Data) -> Item:
    """Reads one WebSocket message. Raises `Fault` for whatever is not an item."""
    if isinstance(message, bytes):
        head = _BINARY.match(message)
        if head is None:
            raise Fault
        return _sequenced(head[1].decode(), int(head[2]), message[head.end() :])
    if head := _TEXT.match(message):
        return _sequenced(head[1], int(head[2]), message[head.end() :])
    if ack := _ACK.fullmatch(message):
        seq = int(ack[1])
        if seq > SEQ_MAX:
            raise Fault
        return Item("a", seq, "")
    if _NONCE.fullmatch(message):
        return Item(message[0], 0, message[1:])
    if message.startswith("{"):
        return Item("{", 0, message)
    raise Fault


def _sequenced(kind: str, seq: int, payload: Data) -> Item:
    if seq > SEQ_MAX or kind == "n" and not payload:
        raise Fault
    if kind == "x":
        end = _END.fullmatch(str(payload))
        if end is None or not may_travel(int(end[1])) or size(end[2]) > REASON_BYTES_MAX:
            raise Fault
        if int(end[1]) == NO_STATUS and end[2]:
            raise Fault
    return Item(kind, seq, payload)


def size(payload: Data) -> int:
    """Bytes on the wire."""
    return len(payload) if isinstance(payload, bytes) else len(payload.encode())


def may_travel(code: int) -> bool:
    """Whether an end may carry this code."""
    return code in (*range(1000, 1004), NO_STATUS, *range(1007, 1015)) or 3000 <= code <= 4999


def end_payload(code: int, reason: str) -> str:
    """The payload of an end. A reason that is too long is cut between characters."""
    code = code if may_travel(code) else 1011
    reason = "" if code == NO_STATUS else reason
    return f"{code};{reason.encode()[:REASON_BYTES_MAX].decode(errors='ignore')}"


def cut(message: Data, chunk: int) -> Iterator[tuple[str, Data]]:
    """The pieces of a message with their kinds; text is cut between code points."""
    if isinstance(message, bytes):
        for at in range(0, len(message) - chunk, chunk):
            yield "n", message[at : at + chunk]
        rest = (len(message) - 1) // chunk * chunk if message else 0
        yield "m", message[rest:]
        return
    encoded = message.encode()
    at = 0
    while len(encoded) - at > chunk:
        end = at + chunk
        while end > at + 1 and encoded[end] & 0xC0 == 0x80:
            end -= 1
        yield "n", encoded[at:end].decode()
        at = end
    yield "m", encoded[at:].decode()


_FIELDS: dict[str, dict[str, dict[str, str]]] = {
    "gateway": {
        "attach": {
            "sid": "text",
            "link": "count",
            "leg": "count",
            "recv": "count",
            "lo": "first",
            "hi": "count",
            "win": "pair",
            "chunk": "first",
            "max_msg": "count",
        },
        "reset": {"code": "count", "recv": "count?"},
        "error": {"code": "count", "msg": "text?"},
    },
    "replica": {
        "attached": {"recv": "count?", "lo": "first", "hi": "count"},
        "drain": {},
        "error": {"code": "count", "msg": "text?"},
    },
}


def control(text: str, speaker: str = "gateway") -> dict[str, Any]:
    """Reads a control object that `speaker` sent, with the fields that count."""
    if size(text) > CONTROL_BYTES_MAX:
        raise Fault
    try:
        said = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Fault from None
    kinds = _FIELDS[speaker].get(said.get("t")) if isinstance(said.get("t"), str) else None
    if kinds is None:
        raise Fault
    known: dict[str, Any] = {"t": said["t"]}
    for name, kind in kinds.items():
        value = said.get(name)
        if not _fits(value, kind):
            raise Fault
        known[name] = "" if value is None and kind == "text?" else value
    if "lo" in known and known["lo"] - 1 > known["hi"]:
        raise Fault
    return known


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _fits(value: object, kind: str) -> bool:
    if kind.endswith("?"):
        return value is None or _fits(value, kind[:-1])
    if kind == "text":
        return isinstance(value, str)
    if kind == "pair":
        return isinstance(value, list) and len(value) == 2 and all(_fits(each, "count") for each in value)
    least = 1 if kind == "first" else 0
    return type(value) is int and least <= value <= SEQ_MAX
