# Submits a list of messages (JSON on standard input) with smtplib and prints what was refused.
#
#   smtplib-submit.py HOST PORT [USER PASSWORD]      with a user: STARTTLS and AUTH

import json
import smtplib
import ssl
import sys

host, port, login = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
messages_per_connection = 40

messages = json.load(sys.stdin)
for start in range(0, len(messages), messages_per_connection):
    with smtplib.SMTP(host, port, local_hostname="smtplib.rsa.test", timeout=60) as client:
        if login:
            client.starttls(context=ssl._create_unverified_context())
            client.login(*login)
        for message in messages[start : start + messages_per_connection]:
            with open(message["file"], "rb") as file:
                content = file.read()
            options = ["BODY=8BITMIME"]
            if message["smtpUtf8"]:
                options.append("SMTPUTF8")
            try:
                refused = client.sendmail(message["from"], message["to"], content, options)
            except smtplib.SMTPException as error:
                refused = error
            if refused:
                print(f"message {message['id']}: {refused!r}")
