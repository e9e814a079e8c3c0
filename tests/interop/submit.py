"""Submits one message with Python's smtplib.

submit.py starttls|tls HOST PORT ROOTS USER PASSWORD FROM TO FILE; the password comes from the
environment in the real world, and from a lab here.
"""
import smtplib
import ssl
import sys

mode, host, port, roots, user, password, sender, recipient, path = sys.argv[1:]
context = ssl.create_default_context(cafile=roots)
with open(path, "rb") as file:
    message = file.read()

if mode == "tls":
    server = smtplib.SMTP_SSL(host, int(port), context=context, timeout=60)
else:
    server = smtplib.SMTP(host, int(port), timeout=60)
    server.starttls(context=context)
with server:
    server.login(user, password)
    options = [] if message.isascii() else ["BODY=8BITMIME"]
    refused = server.sendmail(sender, [recipient], message, mail_options=options)
    assert not refused, refused
