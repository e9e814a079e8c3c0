"""Reads a delivery report with Python's email package and checks its form (RFC 3464).

read_dsn.py FILE RECIPIENT; prints what a program would take from it.
"""
import sys
from email import message_from_binary_file, policy

path, recipient = sys.argv[1:]
with open(path, "rb") as file:
    report = message_from_binary_file(file, policy=policy.default)

assert report.get_content_type() == "multipart/report", report.get_content_type()
assert report.get_param("report-type") == "delivery-status"
assert not report.defects, report.defects
parts = list(report.iter_parts())
assert [part.get_content_type() for part in parts] == [
    "text/plain",
    "message/delivery-status",
    "text/rfc822-headers",
], [part.get_content_type() for part in parts]
assert not any(part.defects for part in report.walk()), "defects"
about_message, *about_recipients = parts[1].get_payload()
assert about_message["Reporting-MTA"].startswith("dns;"), about_message.as_string()
assert len(about_recipients) == 1, about_recipients
fields = about_recipients[0]
assert fields["Final-Recipient"].replace(" ", "") == f"rfc822;{recipient}", fields["Final-Recipient"]
assert fields["Action"] == "failed", fields["Action"]
assert fields["Status"].startswith("5."), fields["Status"]
assert "Subject" not in parts[2].get_content(), "the subject of the message is in the report"
assert report["From"] and report["To"] and report["Date"] and report["Message-ID"]
print("Action:", fields["Action"], "Status:", fields["Status"])
print(parts[0].get_content().split("\n\n")[0])
