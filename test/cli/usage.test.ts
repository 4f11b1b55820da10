// The command as a user meets it: help, exit status 2 for wrong usage, and the verbs that need no server.

import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { type Test, test } from "tap";
import { parse } from "yaml";
import { buildProgram } from "../../src/cli/program.ts";
import { parseScryptHash, verifyPassword } from "../../src/ingest/password.ts";
import { runCli } from "./run-cli.ts";

const sample = new URL("../../conf/postern.yaml", import.meta.url).pathname;

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), "postern-cli-"));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test("wrong usage is status 2 and one line that says where help is", async (t) => {
  const wrong: [string[], RegExp][] = [
    [["frob"], /^postern: unknown command 'frob' \(see postern --help\)\n$/],
    [["serv"], /Did you mean serve\?/],
    [["send"], /^postern send: required option '--to <address\.\.\.>' not specified \(see postern send --help\)\n$/],
    [["send", "--to", "nobody"], /^postern: "nobody" is not an address/],
    [["send", "--to", "a@b.test", "--count", "0"], /argument '0' is invalid\. It must be a whole number of at least 1/],
    [["queue", "show"], /^postern queue show: missing required argument 'domain' \(see postern queue show --help\)\n$/],
    [["hold"], /^postern: say what it is about with at least one of --domain/],
    [["check", "--colour"], /unknown option '--colour'/],
    [["serve"], /required option '--config <file>' not specified/],
    [
      ["dkim", "keygen", "--domain", "x.test", "--selector", "s", "--algorithm", "md5"],
      /Allowed choices are rsa-2048, ed25519/,
    ],
    [["queue", "list", "--admin", "nowhere"], /--admin nowhere is not a URL/],
  ];
  const runs = await Promise.all(wrong.map(([args]) => runCli(args)));
  for (const [i, { status, out, err }] of runs.entries()) {
    const [args, expected] = wrong[i] as (typeof wrong)[number];
    t.equal(status, 2, args.join(" "));
    t.match(err, expected);
    t.equal(err.split("\n").length, 2, "one line");
    t.equal(out, "");
  }
});

test("every verb has help with examples, and --json where it prints data", async (t) => {
  const seen: string[] = [];
  const look = (command: Command, words: readonly string[]) => {
    for (const child of command.commands) look(child, [...words, child.name()]);
    if (command.commands.length > 0) return;
    let help = "";
    command.configureOutput({ writeOut: (text) => (help += text) });
    command.outputHelp();
    const verb = words.join(" ");
    seen.push(verb);
    t.match(help, `Examples:\n  $ postern ${verb}`);
    t.equal(help.includes("--json"), verb !== "serve", `${verb} and --json`);
  };
  for (const verb of buildProgram().commands) look(verb, [verb.name()]);
  t.equal(seen.length, 19);
  const help = await runCli(["queue", "list", "--help"]);
  t.equal(help.status, 0);
  t.match(help.out, /^Usage: postern queue list \[options\]\n/);
  t.equal((await runCli([])).status, 2, "no verb is wrong usage");
});

test("check says that the sample is valid, prints it whole, and prints the schema", async (t) => {
  const cwd = new URL("../..", import.meta.url).pathname;
  const [plain, printed, json, schema] = await Promise.all([
    runCli(["check", "--config", "conf/postern.yaml"], { cwd }),
    runCli(["check", "--config", sample, "--print"], { cwd }),
    runCli(["check", "--config", sample, "--print", "--json"], { cwd }),
    runCli(["check", "--schema"], { cwd }),
  ]);
  t.same(plain, { status: 0, out: "conf/postern.yaml is valid\n", err: "" });
  t.match(parse(printed.out), { delivery: { timeouts: { final_dot: "10m" } }, spool: { path: "var/spool" } });
  t.match(JSON.parse(json.out), { valid: true, errors: [], warnings: [], config: { drain_timeout: "30s" } });
  t.match(JSON.parse(schema.out), { properties: { hostname: { type: "string" } } });
});

test("check tells every error as FILE:LINE:COLUMN, the bounce rules and keys included, with status 1", async (t) => {
  const cwd = folder(t);
  writeFileSync(join(cwd, "bad.yaml"), "hostname: mta1.example.com\ningest: { smtp: [] }\nspol: {}\n");
  const bad = await runCli(["check", "--config", "bad.yaml"], { cwd });
  t.same(bad, {
    status: 1,
    out: "",
    err: 'bad.yaml:2:17: expected at least one listener, found a list\nbad.yaml:3:1: unknown key "spol"; did you mean "spool"?\npostern: bad.yaml has 2 errors\n',
  });
  const serve = await runCli(["serve", "--config", "bad.yaml"], { cwd });
  t.equal(serve.status, 1, "serve refuses it with the same lines");
  t.match(serve.err, 'bad.yaml:3:1: unknown key "spol"');

  writeFileSync(join(cwd, "rules.yaml"), "groups: [{ rules: [{ class: no_such_class, codes: [421] }] }]\n");
  writeFileSync(join(cwd, "s1.pem"), "not a key\n");
  writeFileSync(
    join(cwd, "files.yaml"),
    "hostname: mta1.example.com\ningest: { smtp: [{ listen: 127.0.0.1:2525 }] }\nbounces: { include: [rules.yaml] }\nsigning:\n  - domain: example.com\n    keys: [{ selector: s1, algorithm: rsa-sha256, key_file: s1.pem }]\n",
  );
  const files = await runCli(["check", "--config", "files.yaml", "--json"], { cwd });
  t.equal(files.status, 1);
  t.match(files.err, /rules\.yaml:1:\d+: not a bounce class/);
  t.match(files.err, /files\.yaml:6:12: .*s1\.pem/);
  t.match(JSON.parse(files.out), { valid: false });
});

test("dkim keygen writes a key for its owner alone, prints the record, and never overwrites", async (t) => {
  const cwd = folder(t);
  const args = ["dkim", "keygen", "--domain", "Example.com", "--selector", "s2026e", "--algorithm", "ed25519"];
  const made = await runCli([...args, "--json"], { cwd });
  const file = join(cwd, "conf/keys/example.com.s2026e.pem");
  t.equal(made.status, 0, made.err);
  t.match(JSON.parse(made.out), {
    algorithm: "ed25519-sha256",
    record: { name: "s2026e._domainkey.example.com", text: /^v=DKIM1; k=ed25519; p=[A-Za-z0-9+/]{43}=$/ },
  });
  t.equal(statSync(file).mode & 0o777, 0o600);
  const before = readFileSync(file, "utf8");
  const again = await runCli(args, { cwd });
  t.equal(again.status, 1);
  t.match(again.err, /^postern: cannot write conf\/keys\/example\.com\.s2026e\.pem: it exists: take a new selector/);
  t.equal(readFileSync(file, "utf8"), before);
  t.equal((await runCli(["dkim", "keygen", "--domain", "../x", "--selector", "s"], { cwd })).status, 2);
  t.notOk(existsSync(join(cwd, "../x.s.pem")));
});

test("user password hashes a line of standard input", async (t) => {
  const { status, out } = await runCli(["user", "password"], { input: "open sesame\nmore\n" });
  t.equal(status, 0);
  const hash = parseScryptHash(out.trim());
  t.ok(hash !== undefined && (await verifyPassword("open sesame", hash)));
  const empty = await runCli(["user", "password"], { input: "\n" });
  t.equal(empty.status, 1);
  t.match(empty.err, "the password is empty");
});
