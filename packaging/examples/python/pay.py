#!/usr/bin/env python3
"""Pays one account from another, many times, and then says what became of it.

    RRTS_PASSWORD=… pay.py client-kit.toml LOGIN_NAME DEBIT CREDIT COUNT [--plain]

A payment is one unit. Gateways may come and go meanwhile: each payment is executed once.
Prints one JSON object; exit status 0 only if the statement and the events agree with it.
"""
import json
import os
import sys

import rrts


def main():
    kit, login, debit, credit, count = sys.argv[1:6]
    debit, credit, count = int(debit), int(credit), int(count)
    with rrts.connect(kit, login, os.environ["RRTS_PASSWORD"], packing="--plain" not in sys.argv) as c:
        start = None
        for e in c.events(follow=False):
            start = e["position"]
        before, = c.accounts(debit)
        csns = []
        for i in range(count):
            tx = c.transfer(debit, credit, 1, ledger=1, code=1, memo=f"payment {i + 1} of {count}")
            o = c.submit(tx)
            if o["state"] != rrts.COMMITTED:
                sys.exit(f"payment {i + 1}: {o}")
            csns.append(o["csn"])
            if i % 50 == 49:
                print(i + 1, file=sys.stderr, flush=True)
        if c.submit(tx)["csn"] != csns[-1]:  # the same once more is the same
            sys.exit("a payment was executed twice")
        after, = c.accounts(debit)
        events = []
        for e in c.events(start or (0, 0, 0, 0)):  # wherever they are told, they all come
            if e["transfer"]:
                events.append(e["csn"])
            if e["csn"] >= csns[-1]:
                break
        memos = [line["memo"] for line in c.statement(debit)][-count:]
        print(json.dumps({
            "paid": after["debits_posted"] - before["debits_posted"], "payments": len(csns), "events": len(events),
            "public_name": c.public_name, "gateways": c.moves + 1,
        }))
        if events != csns:
            sys.exit(f"the events differ: {events} instead of {csns}")
        if memos != [f"payment {i + 1} of {count}" for i in range(count)]:
            sys.exit(f"the statement differs: {memos}")


main()
