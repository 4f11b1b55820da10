# Receives mail with aiosmtpd and keeps each transaction: N.eml as it came, N.json with the recipients.
#
#   aiosmtpd-receive.py HOST PORT FOLDER

import asyncio
import json
import os
import signal
import sys

from aiosmtpd.smtp import SMTP

host, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]


class Keeper:
    def __init__(self):
        self.count = 0

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        name = os.path.join(folder, str(self.count))
        with open(name + ".json", "w") as file:
            json.dump(envelope.rcpt_tos, file)
        with open(name + ".eml", "wb") as file:
            file.write(envelope.original_content)
        return "250 2.0.0 kept"


async def serve():
    keeper = Keeper()
    loop = asyncio.get_running_loop()
    make = lambda: SMTP(keeper, data_size_limit=50_000_000, enable_SMTPUTF8=True, decode_data=False, hostname="mx.aiosmtpd")
    server = await loop.create_server(make, host, port)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    server.close()


asyncio.run(serve())
