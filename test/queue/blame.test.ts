// What a failure may punish.

import { test } from "tap";
import type { Fault, Outcome, Stage } from "../../src/core/outcome.ts";
import { closingFault, endsSessionOnly, outcomeWithoutSession, scopeOf } from "../../src/queue/blame.ts";

const at = 1_000;
const reply = (stage: Stage, code: number): Fault => ({
  kind: "reply",
  stage,
  reply: { code, enhanced: undefined, text: "" },
});
const network = (message: string): Fault => ({ kind: "network", stage: "connect", message });
const transient = (fault: Fault): Outcome => ({ kind: "transient", at, fault });

test("who cannot be reached rests as a route, who refuses us rests the lane", (t) => {
  t.equal(scopeOf(network("ECONNREFUSED")), "route");
  t.equal(scopeOf(network("no reply in time")), "route");
  t.equal(scopeOf(reply("banner", 421)), "lane");
  t.equal(scopeOf(reply("banner", 554)), "lane");
  t.equal(scopeOf({ kind: "policy", rule: "require-tls", message: "no STARTTLS" }), "lane");
  t.end();
});

test("what our own host lacks is nobody else's fault", (t) => {
  for (const code of ["EADDRNOTAVAIL", "EADDRINUSE", "EMFILE", "ENFILE"]) {
    t.equal(scopeOf(network(`${code}: connect 192.0.2.1:25`)), "source", code);
  }
  t.end();
});

test("without a session only a host that takes no mail, or may get none, is final", (t) => {
  const kind = (fault: Fault) => outcomeWithoutSession(fault, at).kind;
  for (const code of [421, 450, 550, 554]) t.equal(kind(reply("banner", code)), "transient", String(code));
  for (const code of [521, 556]) t.equal(kind(reply("banner", code)), "permanent", String(code));
  t.equal(kind(network("ETIMEDOUT")), "transient");
  t.equal(kind({ kind: "policy", rule: "internal-address", message: "" }), "permanent");
  t.equal(kind({ kind: "policy", rule: "require-tls", message: "" }), "transient");
  t.end();
});

test("a 421 to the envelope is about the session, behind it about the message too (RFC 5321 section 3.8)", (t) => {
  t.ok(endsSessionOnly(transient(reply("mail", 421))));
  for (const stage of ["rcpt", "data", "final-dot"] as const) {
    t.notOk(endsSessionOnly(transient(reply(stage, 421))), stage);
    t.ok(closingFault(transient(reply(stage, 421))), stage);
  }
  t.notOk(endsSessionOnly(transient(reply("mail", 450))));
  t.equal(closingFault({ kind: "delivered", at, reply: { code: 250, enhanced: undefined, text: "" } }), undefined);
  t.end();
});
