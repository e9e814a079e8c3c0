"""Receivers by aiosmtpd: one process, a server for each entry of a JSON file.

receiver.py FILE; the file holds a list of {host, ip, port, certificate, key, folder} with, where
wanted, tls_1_2, greylist, size (advertised), quiet_size (not advertised), single (one recipient a
transaction), delay (seconds before each reply). A message is stored in `folder` as it came, CRLF
and all, behind lines of its own: Return-Path, Delivered-To for each recipient, the TLS version.
"""
import asyncio
import json
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP


class Receiver:
    """What one server says and stores."""

    def __init__(self, options):
        self.options = options
        self.seen = set()
        self.count = 0

    async def wait(self):
        await asyncio.sleep(self.options.get("delay", 0))

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        await self.wait()
        session.host_name = hostname
        return responses

    async def handle_MAIL(self, server, session, envelope, address, options):
        await self.wait()
        envelope.mail_from = address
        return "250 2.1.0 Sender ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        await self.wait()
        if self.options.get("greylist") and address not in self.seen:
            self.seen.add(address)
            return "451 4.7.1 Greylisted, try again"
        if self.options.get("single") and envelope.rcpt_tos:
            return "452 4.5.3 One recipient at a time"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Recipient ok"

    async def handle_DATA(self, server, session, envelope):
        await self.wait()
        content = envelope.original_content
        if len(content) > self.options.get("quiet_size", len(content)):
            return "552 5.2.3 Too large for this mailbox"
        version = session.ssl["ssl_object"].version() if session.ssl else "none"
        lines = [f"Return-Path: <{envelope.mail_from}>"]
        lines += [f"Delivered-To: {address}" for address in envelope.rcpt_tos]
        head = "\n".join(lines + [f"X-Received-Over: {version}", ""])
        self.count += 1
        folder = self.options["folder"]
        new = os.path.join(folder, "tmp", str(self.count))
        with open(new, "wb") as file:
            file.write(head.encode() + content)
        os.rename(new, os.path.join(folder, str(self.count)))
        return "250 2.0.0 Stored"


async def start(options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options["certificate"], options["key"])
    if options.get("tls_1_2"):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    os.makedirs(os.path.join(options["folder"], "tmp"))
    receiver = Receiver(options)

    def protocol():
        return SMTP(
            receiver,
            hostname=options["host"],
            data_size_limit=options.get("size"),
            tls_context=context,
            require_starttls=True,
        )

    loop = asyncio.get_running_loop()
    await loop.create_server(protocol, options["ip"], options["port"])


async def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        for options in json.load(file):
            await start(options)
    await asyncio.Event().wait()


asyncio.run(main())
