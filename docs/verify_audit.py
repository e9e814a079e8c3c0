#!/usr/bin/env python3
"""Verifies Postern's audit. Usage: verify_audit.py AUDIT_FOLDER PUBLIC_KEY.pem [HEAD...]

Shares no code with Postern and needs Python 3.8 alone. Prints each break as
"FILE, line N: what" and exits 1 if there is any. docs/audit.md tells the format."""
import base64, hashlib, json, os, re, sys

# Ed25519 (RFC 8032, section 5.1): verifying alone, so nothing here is secret.
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, I = -121665 * pow(121666, P - 2, P) % P, pow(2, (P - 1) // 4, P)
def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P
def times(n, p):
    q = (0, 1, 1, 0)
    while n:
        q, p, n = add(q, p) if n & 1 else q, add(p, p), n >> 1
    return q
def point(octets):
    y = int.from_bytes(octets, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * I % P
    if y >= P or x * x % P != square or (x == 0 and sign):
        raise ValueError("not a point")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P
BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
def verifies(public, signature, text):
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or s >= L:
        return False
    k = hashlib.sha512(signature[:32] + public + text).digest()
    try:
        left = times(s, BASE)
        right = add(point(signature[:32]), times(int.from_bytes(k, "little") % L, point(public)))
    except ValueError:
        return False
    return all((left[i] * right[2] - right[i] * left[2]) % P == 0 for i in (0, 1))

breaks, heads, removed = [], set(), {}
def note(file, line, what):
    breaks.append(f"{file}, line {line}: {what}")

def check_head(file, line, n, text, before):
    match = re.fullmatch(rb'(\{"prev":"[0-9a-f]{64}","head":.*),"signature":"([0-9a-f]{128})"\}\n', text)
    if not match or not verifies(key[-32:], bytes.fromhex(match[2].decode()), match[1]):
        return note(file, n, f"not signed by the key {name}")
    head = line["head"]
    if head["day"] + ".jsonl" != file or head["events"] != n - 1:
        note(file, n, "is the head of another day, or of more or fewer lines")
    if before and head["after"] != before:
        note(file, n, f"follows {head['after']}, whose file is missing")
    heads.add(hashlib.sha256(text).hexdigest())
    if head["removed"]:
        removed[head["removed"]["head"]] = head["removed"]["through"]

folder, pem, *expected = sys.argv[1:]
key = base64.b64decode("".join(l for l in open(pem).read().split("\n") if "-" not in l))
name = hashlib.sha256(key).hexdigest()[:16]
files = sorted(f for f in os.listdir(folder) if re.fullmatch(r"\d{4}-\d\d-\d\d\.jsonl", f))
start = link = before = None
for file in files:
    n, ended = 0, False
    for n, text in enumerate(open(os.path.join(folder, file), "rb"), 1):
        if not text.endswith(b"\n"):  # half a line: being written, or cut off
            n -= 1
            if ended:
                note(file, n + 1, "stands behind the day's head")
            break
        try:
            line = json.loads(text)
            prev = line["prev"]
        except (ValueError, KeyError, TypeError):
            line, prev = {}, None
        start = start or (prev, file)
        if prev is None or link not in (None, prev):
            note(file, n, "does not follow the line before: changed, removed, added or moved")
        if ended:
            note(file, n, "stands behind the day's head")
        link = hashlib.sha256(text).hexdigest()
        if "head" in line:
            ended = True
            check_head(file, line, n, text, before)
    if not ended and file != files[-1]:
        note(file, n + 1, "is missing: the end was cut off, there is no head")
        link = None  # what the next file follows is not known
    elif not ended:
        print(f"not yet signed: {file}, {n} events")
    before = file[:10]
if start and start[0] not in ("0" * 64, *removed):
    note(start[1], 1, "is not where the audit began, nor said to have been removed before")
breaks += [f"no day ends with the head {h}" for h in expected if h not in heads | set(removed)]
print("\n".join(breaks) or f"intact: {len(files)} day files, key {name}")
sys.exit(1 if breaks else 0)
