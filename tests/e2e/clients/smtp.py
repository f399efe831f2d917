"""Python's own mail client: `smtp.py HOST:PORT` sends one mail and prints `done`."""

import smtplib
import sys

host, port = sys.argv[1].rsplit(":", 1)
with smtplib.SMTP(host, int(port), timeout=20) as client:
    client.sendmail("a@example.org", ["b@example.org"], "Subject: through the gateway\n\nHello.\n")
print("done")
