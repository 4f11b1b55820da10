"""Reads messages as base64 lines and prints what Python's email package makes of each, as a line of JSON."""

import base64
import email
import email.policy
import json
import sys


def part(node):
    out = {
        "type": node.get_content_type(),
        "encoding": node.get("Content-Transfer-Encoding"),
        "defects": [type(defect).__name__ for defect in node.defects],
    }
    if node.get_content_maintype() == "multipart":
        out["parts"] = [part(child) for child in node.get_payload()]
        out["params"] = dict(node.get_params()[1:])
    elif node.get_content_type() == "message/delivery-status":
        out["groups"] = [[[key, " ".join(str(value).split())] for key, value in group.items()] for group in node.get_payload()]
    elif node.get_content_maintype() == "message":
        out["inner"] = node.get_payload()[0].as_bytes(policy=email.policy.compat32).decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode("utf-8")
    else:
        out["text"] = node.get_payload(decode=True).decode(node.get_content_charset() or "utf-8", "replace")
    return out


for line in sys.stdin:
    message = email.message_from_bytes(base64.b64decode(line), policy=email.policy.compat32)
    headers = [[key, str(value)] for key, value in message.items()]
    print(json.dumps({"headers": headers, **part(message)}))
