"""aiosmtpd: a mail server, which greets before its client speaks.

Prints `listening PORT` when it accepts and `mail SUBJECT-LINE` for each mail it took.
"""

import asyncio
import os

from aiosmtpd.smtp import SMTP


class Printer:
    async def handle_DATA(self, _server, _session, envelope):
        lines = envelope.content.decode().splitlines()
        print("mail", next(line for line in lines if line.startswith("Subject:")), flush=True)
        return "250 taken"


async def main():
    loop = asyncio.get_running_loop()
    port = int(os.environ.get("PORT", "0"))
    server = await loop.create_server(lambda: SMTP(Printer()), "127.0.0.1", port)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
