"""A gRPC client of `apps/grpc_echo.py`: `grpc_echo.py HOST PORT [silent]`. Prints `done` at the end.

With `silent` it says nothing for 3 s in the middle of a call, and the call goes on.
"""

import os
import queue
import sys
import time
from concurrent import futures

import grpc

channel = grpc.insecure_channel(
    f"{sys.argv[1]}:{sys.argv[2]}", options=[("grpc.max_receive_message_length", 16 << 20)]
)
WORD = (("x-word", "hello"),)
PATIENCE = 60


def finish():
    """Ends without the threads that still wait for the next message of a cancelled call."""
    print("done", flush=True)
    os._exit(0)


if "silent" in sys.argv:
    outgoing = queue.SimpleQueue()
    both = channel.stream_stream("/test.Echo/Both")(iter(outgoing.get, None), timeout=PATIENCE)
    for silence, word in ((0, b"before"), (3, b"after")):
        time.sleep(silence)
        outgoing.put(word)
        assert next(both) == word
    print("silent: the call goes on")
    finish()

unary = channel.unary_unary("/test.Echo/Unary")
answer, call = unary.with_call(b"one", metadata=WORD, timeout=PATIENCE)
assert answer == b"one"
assert dict(call.initial_metadata())["x-front"] == "hello", call.initial_metadata()
assert dict(call.trailing_metadata())["x-behind"] == "hello", call.trailing_metadata()
large = bytes(range(256)) * (4 << 12)
assert unary(large, timeout=PATIENCE) == large
print(f"unary: with metadata in front and behind, and {len(large)} bytes")

try:
    channel.unary_unary("/test.Echo/Fail")(b"rain", timeout=PATIENCE)
    raise AssertionError("a failing call succeeded")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details() == "not today: rain", error
print("fail: status and words arrive")

down = list(channel.unary_stream("/test.Echo/Down")(b"500", timeout=PATIENCE))
assert down == [b"%d" % number for number in range(500)]
pieces = [b"%d," % number for number in range(500)]
assert channel.stream_unary("/test.Echo/Up")(iter(pieces), timeout=PATIENCE) == b"".join(pieces)
print("down and up: 500 messages each")

outgoing = queue.SimpleQueue()
both = channel.stream_stream("/test.Echo/Both")(iter(outgoing.get, None), timeout=PATIENCE)
for number in range(50):
    # Sent only once the answer to the one before has come.
    outgoing.put(b"%d" % number)
    assert next(both) == b"%d" % number
outgoing.put(None)
assert list(both) == []
print("both: 50 messages, each answered before the next")

with futures.ThreadPoolExecutor(32) as pool:
    answers = list(pool.map(lambda number: unary(b"%d" % number, timeout=PATIENCE), range(300)))
assert answers == [b"%d" % number for number in range(300)]
print("many: 300 calls, 32 at once")

call = channel.stream_stream("/test.Echo/Both")(iter(queue.SimpleQueue().get, None), timeout=PATIENCE)
call.cancel()
assert call.code() == grpc.StatusCode.CANCELLED
assert unary(b"after", timeout=PATIENCE) == b"after"
print("cancel: the channel goes on")
finish()
