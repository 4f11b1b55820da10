// Who is told what (RFC 3461 section 4.1).

import { test } from "tap";
import { actionOnSuccess, isDsnDue } from "../../src/outcome/notify.ts";

test("without NOTIFY failures and delays are told, success is not", (t) => {
  t.ok(isDsnDue(undefined, "failed"));
  t.ok(isDsnDue(undefined, "delayed"));
  t.notOk(isDsnDue(undefined, "relayed"));
  t.notOk(isDsnDue(undefined, "delivered"));
  t.end();
});

test("NEVER means never", (t) => {
  for (const action of ["failed", "delayed", "relayed", "delivered"] as const) t.notOk(isDsnDue([], action), action);
  t.end();
});

test("what is asked for is told, and nothing else", (t) => {
  t.ok(isDsnDue(["failure"], "failed"));
  t.notOk(isDsnDue(["failure"], "delayed"));
  t.ok(isDsnDue(["delay"], "delayed"));
  t.notOk(isDsnDue(["delay"], "failed"));
  t.ok(isDsnDue(["success", "failure"], "relayed"));
  t.ok(isDsnDue(["success"], "delivered"));
  t.notOk(isDsnDue(["success"], "failed"));
  t.end();
});

test("a peer that took over NOTIFY reports success itself", (t) => {
  t.equal(actionOnSuccess(true), undefined);
  t.equal(actionOnSuccess(false), "relayed");
  t.equal(actionOnSuccess(undefined), "relayed");
  t.end();
});
