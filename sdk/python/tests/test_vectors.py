"""The vectors of the protocol, which every implementation runs."""

import json
import unittest
from pathlib import Path

from longhaul_backend.grammar import Fault, Item, control, cut, parse
from longhaul_backend.machine import Attach, Backend, Close, Numbered, Saved, Send, _Incoming

VECTORS = Path(__file__).parents[3] / "protocol" / "vectors"


def cases(name):
    found = json.loads((VECTORS / name).read_text())["cases"]
    assert found
    return found


def message(case, name="hex"):
    raw = bytes.fromhex(case[name])
    return raw.decode() if case["opcode"] == "text" else raw


def octets(data):
    return data.hex() if isinstance(data, bytes) else data.encode().hex()


def shown(item: Item):
    kinds = {"m": "message", "n": "chunk", "e": "event", "a": "ack", "p": "ping", "q": "pong"}
    if item.kind == "x":
        code, reason = item.end()
        return {"kind": "end", "seq": item.seq, "code": code, "reason": reason}
    if item.kind == "{":
        return {"kind": "control", "text": item.payload}
    if item.kind == "a":
        return {"kind": "ack", "seq": item.seq}
    if item.kind in "pq":
        return {"kind": kinds[item.kind], "nonce": item.payload}
    return {"kind": kinds[item.kind], "seq": item.seq, "payload": octets(item.payload)}


class Vectors(unittest.TestCase):
    def test_items_read_as_they_say(self):
        for case in cases("items.json"):
            with self.subTest(case["name"]):
                try:
                    item = parse(message(case))
                    if item.kind == "e" and case.get("from") == "client":
                        # That only a gateway tells events is the machine's to know.
                        raise Fault
                except Fault as fault:
                    self.assertEqual(fault.code, case["fault"])
                else:
                    self.assertEqual(shown(item), case["item"])

    def test_messages_are_cut_as_they_say(self):
        for case in cases("chunks.json"):
            with self.subTest(case["name"]):
                pieces = enumerate(cut(message(case, "payload"), case["chunk"]), case["first"])
                items = [(kind + f"{seq};").encode().hex() + octets(payload) for seq, (kind, payload) in pieces]
                self.assertEqual(items, case["items"])

    def test_items_arrive_as_they_say(self):
        tried = 0
        for case in cases("receive.json"):
            if case["direction"] != "c2b" or case["link"] != "newest":
                # A replica has one leg, and hears the client only.
                continue
            tried += 1
            limits = (case["limits"]["chunk"], case["limits"]["max_msg"], (1 << 30, 1 << 30))
            incoming = _Incoming(case["recv"])
            with self.subTest(case["name"]):
                for step in case["steps"]:
                    self.assertEqual(self.taken(incoming, step, limits), step["then"])
        self.assertGreater(tried, 5)

    def taken(self, incoming, step, limits):
        item = parse(message(step))
        is_duplicate = item.seq <= incoming.recv
        try:
            arrived = incoming.take(item, limits)
        except Fault as fault:
            return fault.code
        if arrived is None:
            return "drop" if is_duplicate else "hold"
        if item.kind == "x":
            return {"end": arrived.code, "reason": arrived.reason}
        opcode = "text" if isinstance(arrived.data, str) else "binary"
        return {"deliver": octets(arrived.data), "opcode": opcode}

    def test_control_of_legs_reads_as_they_say(self):
        for case in cases("leg.json"):
            with self.subTest(case["name"]):
                try:
                    self.assertEqual(control(case["text"], case["from"]), case["control"])
                except Fault as fault:
                    self.assertEqual(fault.code, case["fault"])

    def test_a_replica_goes_on_as_they_say(self):
        for case in cases("attach.json"):
            with self.subTest(case["name"]):
                self.assertEqual(self.attached(case), case["then"])

    def attached(self, case):
        attach = {"t": "attach", "sid": "s", "link": 1, "win": [4 << 20, 4096], "chunk": 16384, "max_msg": 1 << 20}
        backend = Backend()
        backend.receive(json.dumps(attach | case["attach"]))
        self.assertIsInstance(backend.poll(), Attach)
        saved = case["saved"]
        unacked = [Numbered(seq, "m", "x") for seq in saved["unacked"]]
        backend.attach(Saved(saved["recv"], saved["sent"], unacked))
        backend.receive(f"a{case['attach']['recv']}")
        then = {"attached": None, "ack": None, "send": []}
        while (output := backend.poll()) is not None:
            if isinstance(output, Close):
                return {"close": output.code}
            assert isinstance(output, Send)
            item = parse(output.message)
            if item.kind == "{":
                then["attached"] = control(item.payload, "replica")
                del then["attached"]["t"]
            elif item.kind == "a":
                then["ack"] = item.seq
            else:
                then["send"].append(item.seq)
        return then
