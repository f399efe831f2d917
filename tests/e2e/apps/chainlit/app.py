"""A Chainlit chat without a model: streams its answers and says which replica it is."""

import asyncio
import os

import chainlit as cl

REPLICA = os.environ.get("REPLICA", "app")


@cl.on_chat_start
async def welcome():
    await cl.Message(content=f"Welcome to {REPLICA}").send()


@cl.on_message
async def answer(message: cl.Message):
    reply = cl.Message(content="")
    for element in message.elements:
        # The upload went to this replica's disk by its own HTTP request: the path only exists
        # here when that request and this socket reached the same replica.
        size = os.path.getsize(element.path)
        await reply.stream_token(f"file {element.name} has {size} bytes, ")
    for token in f"{REPLICA} streams back: {message.content} (end)".split(" "):
        await reply.stream_token(token + " ")
        # Apart, so that the client can see several frames and not one.
        await asyncio.sleep(2 if message.content.startswith("slowly") else 0.02)
    await reply.update()
