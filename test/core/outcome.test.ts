// What a failure may punish.

import { test } from "tap";
import { type Fault, type PolicyRule, type Scope, type Stage, scopeOf } from "../../src/core/outcome.ts";

const stages: readonly Stage[] = [
  "resolve",
  "connect",
  "banner",
  "ehlo",
  "starttls",
  "auth",
  "mail",
  "rcpt",
  "data",
  "final-dot",
];
const reply = (stage: Stage, code: number): Fault => ({
  kind: "reply",
  stage,
  reply: { code, enhanced: undefined, text: "" },
});

test("the scope of a reply: before MAIL the site, RCPT its recipient, the rest the message", (t) => {
  const scopes = (code: number) => stages.slice(1).map((stage) => scopeOf(reply(stage, code)));
  const usual: Scope[] = ["site", "site", "site", "site", "site", "message", "recipient", "message", "message"];
  t.same(scopes(450), usual);
  t.same(scopes(550), usual);
  t.end();
});

test("a 421 ends the session, and as a greeting it is the site's (RFC 5321 section 3.8)", (t) => {
  for (const stage of stages.slice(3)) t.equal(scopeOf(reply(stage, 421)), "session", stage);
  t.equal(scopeOf(reply("banner", 421)), "site");
  t.equal(scopeOf(reply("connect", 421)), "site");
  t.end();
});

test("a broken network is the site's until there is a session, and then the session's", (t) => {
  const scopes = stages.map((stage) => scopeOf({ kind: "network", stage, message: "" }));
  t.same(scopes, ["site", "site", "site", "site", "site", "site", "session", "session", "session", "session"]);
  t.equal(scopeOf({ kind: "dns", stage: "resolve", message: "SERVFAIL" }), "site");
  t.end();
});

test("our own rules punish the domain when they are about it, else the message", (t) => {
  const scope = (rule: PolicyRule) => scopeOf({ kind: "policy", rule, message: "" });
  for (const rule of ["null-mx", "loop", "internal-address"] as const) t.equal(scope(rule), "site", rule);
  for (const rule of [
    "require-tls",
    "suppressed",
    "8bitmime",
    "smtputf8",
    "message-size",
    "damaged-content",
    "signing",
  ] as const) {
    t.equal(scope(rule), "message", rule);
  }
  t.end();
});
