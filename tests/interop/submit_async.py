"""Submits one message with aiosmtplib.

submit_async.py starttls|tls HOST PORT ROOTS USER PASSWORD FROM TO FILE; without arguments it
prints aiosmtplib's version.
"""
import asyncio
import ssl
import sys

import aiosmtplib


async def main():
    mode, host, port, roots, user, password, sender, recipient, path = sys.argv[1:]
    with open(path, "rb") as file:
        message = file.read()
    refused, _ = await aiosmtplib.send(
        message,
        sender=sender,
        recipients=[recipient],
        hostname=host,
        port=int(port),
        use_tls=mode == "tls",
        start_tls=mode == "starttls",
        tls_context=ssl.create_default_context(cafile=roots),
        username=user,
        password=password,
        local_hostname="desk.ward.example",
        mail_options=[] if message.isascii() else ["BODY=8BITMIME"],
    )
    assert not refused, refused


if len(sys.argv) == 1:
    print(aiosmtplib.__version__)
else:
    asyncio.run(main())
