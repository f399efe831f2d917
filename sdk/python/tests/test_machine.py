"""The machine by itself: what it says, and what it refuses."""

import json
import unittest

from longhaul_backend import Backend, Detached, Misuse, Saved
from longhaul_backend.machine import Arrived, Attach, Close, Ended, Over, Send


def attach(**more):
    said = {"t": "attach", "sid": "s", "link": 1, "leg": 1, "recv": 0, "lo": 1, "hi": 0}
    return json.dumps(said | {"win": [20, 4], "chunk": 8, "max_msg": 64} | more)


def said(backend):
    everything = []
    while (output := backend.poll()) is not None:
        match output:
            case Send(message):
                everything.append(message)
            case Arrived(seq, data):
                everything.append(f"got {seq} {data}")
            case Ended(seq, code, _):
                everything.append(f"end {seq} {code}")
            case Close(code, _):
                everything.append(f"close {code}")
            case Over(code):
                everything.append(f"over {code}")
            case Attach():
                pass
    return everything


def fresh():
    backend = Backend()
    backend.receive(attach())
    assert said(backend) == []
    backend.attach(Saved())
    assert said(backend) == ['{"t": "attached", "recv": null, "lo": 1, "hi": 0}', "a0"]
    backend.receive("a0")
    return backend


class Machine(unittest.TestCase):
    def test_a_message_is_acknowledged_once_its_change_is_applied_and_not_before(self):
        backend = fresh()
        backend.receive("n1;he")
        backend.receive("m2;llo")
        self.assertEqual(said(backend), ["got 2 hello"])
        change = backend.change(2, ["hi", b"\x00"])
        self.assertEqual((change.recv, change.sent, len(change.items)), (2, 2, 2))
        self.assertEqual(said(backend), [])
        backend.apply(change)
        self.assertEqual(said(backend), ["a2", "m1;hi", b"m2;\x00"])

    def test_a_full_window_holds_whole_messages_back_and_finishes_what_it_began(self):
        backend = fresh()
        for message in ["0123456789abcdef", "now", "an end"]:
            backend.apply(backend.change(None, [message]))
        self.assertEqual(said(backend), ["n1;01234567", "m2;89abcdef", "m3;now"])
        backend.receive("a2")
        self.assertEqual(said(backend), ["m4;an end"])
        backend.apply(backend.end(None, 4001, "bye"))
        self.assertEqual(said(backend), ["x5;4001;bye"])
        with self.assertRaises(Misuse):
            backend.change(None, ["more"])
        backend.receive('{"t":"reset","code":1000,"recv":0}')
        self.assertEqual(said(backend), ["over 1000"])

    def test_room_that_another_leg_has_taken_is_counted_without_knowing_how_much_it_is(self):
        backend = Backend()
        backend.receive(attach(leg=2, recv=3))
        said(backend)
        backend.attach(Saved())
        backend.apply(backend.change(None, ["x"]))
        said(backend)
        # Three items of up to 8 bytes fill 20.
        backend.receive("a0")
        self.assertEqual(said(backend), [])
        backend.receive("a1")
        self.assertEqual(said(backend), ["m4;x"])

    def test_a_gateway_that_breaks_the_protocol_is_left(self):
        for item, code in [
            ("m2;gap", 4902),
            ("m1", 4900),
            ("e1;{}", 4900),
            ("a9", 4900),
            ("m1;far too long", 4911),
            ('{"t":"drain"}', 4900),
            (b"a0", 4900),
        ]:
            with self.subTest(item):
                backend = fresh()
                backend.receive(item)
                self.assertEqual(said(backend), [f"close {code}"])
                with self.assertRaises(Detached):
                    backend.change(None, ["late"])

    def test_changes_are_applied_in_order_and_only_what_came_is_committed(self):
        backend = fresh()
        for recv, message in [(1, ""), (None, "x" * 65)]:
            with self.assertRaises(Misuse):
                backend.change(recv, [message])
        first, second = backend.change(None, ["1"]), backend.change(None, ["2"])
        with self.assertRaises(Misuse):
            backend.apply(second)
        backend.lost()
        with self.assertRaises(Detached):
            backend.apply(first)

    def test_pings_are_answered_and_a_drain_is_asked_for(self):
        backend = fresh()
        backend.receive("p1a")
        backend.drain()
        self.assertEqual(said(backend), ['{"t": "drain"}', "q1a"])
