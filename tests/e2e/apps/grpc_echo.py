"""A gRPC server without a schema: messages are bytes. Prints `listening PORT` when it accepts.

Every kind of call there is: `Unary` and `Both` echo, `Down` answers one message with many, `Up` joins
many into one, `Fail` ends with a status of its own. Metadata `x-word` comes back in front and behind.
"""

import os
from concurrent import futures

import grpc


def word(context):
    value = dict(context.invocation_metadata()).get("x-word", "")
    context.send_initial_metadata((("x-front", value),))
    context.set_trailing_metadata((("x-behind", value),))


def unary(message, context):
    word(context)
    return message


def down(message, context):
    word(context)
    for number in range(int(message)):
        yield b"%d" % number


def up(messages, context):
    return b"".join(messages)


def both(messages, context):
    word(context)
    yield from messages


def fail(message, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: " + message.decode())


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Down": grpc.unary_stream_rpc_method_handler(down),
    "Up": grpc.stream_unary_rpc_method_handler(up),
    "Both": grpc.stream_stream_rpc_method_handler(both),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
}

server = grpc.server(
    futures.ThreadPoolExecutor(64), options=[("grpc.max_receive_message_length", 16 << 20)]
)
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", HANDLERS)])
port = server.add_insecure_port(f"127.0.0.1:{os.environ.get('PORT', '0')}")
server.start()
print("listening", port, flush=True)
server.wait_for_termination()
