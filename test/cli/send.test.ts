// `postern send` against a server that keeps what it gets (package smtp-server).

import type { AddressInfo } from "node:net";
import { SMTPServer } from "smtp-server";
import { type Test, test } from "tap";
import { runCli } from "./run-cli.ts";

interface Kept {
  readonly from: string;
  readonly to: readonly string[];
  readonly text: string;
  readonly session: string;
}

async function receiver(t: Test): Promise<{ readonly server: string; readonly kept: Kept[] }> {
  const kept: Kept[] = [];
  const server = new SMTPServer({
    authOptional: true,
    allowInsecureAuth: true,
    disableReverseLookup: true,
    disabledCommands: ["STARTTLS"],
    onAuth: ({ username, password }, _session, done) =>
      username === "app1" && password === "sesame" ? done(null, { user: username }) : done(new Error("535 no")),
    onRcptTo: ({ address }, _session, done) =>
      done(address.startsWith("bad") ? Object.assign(new Error("5.1.1 nobody"), { responseCode: 550 }) : null),
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        const { mailFrom, rcptTo } = session.envelope;
        kept.push({
          from: mailFrom === false ? "" : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          text: Buffer.concat(chunks).toString(),
          session: session.id,
        });
        done(null, `2.0.0 queued as ${String(kept.length).padStart(16, "0")}`);
      });
    },
  });
  server.on("error", () => undefined);
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.server.once("listening", resolve));
  t.teardown(() => new Promise<void>((resolve) => server.close(() => resolve())));
  return { server: `127.0.0.1:${(server.server.address() as AddressInfo).port}`, kept };
}

test("a test message goes out with its labels, and the reply is shown", async (t) => {
  const { server, kept } = await receiver(t);
  const args = ["send", "--to", "a@x.test", "b@x.test", "--from", "app@example.org", "--server", server];
  const run = await runCli([...args, "--stream", "news", "--job", "j1"]);
  t.same(run, { status: 0, out: "250 2.0.0 queued as 0000000000000001\n", err: "" });
  t.match(kept, [{ from: "app@example.org", to: ["a@x.test", "b@x.test"] }]);
  t.match(kept[0]?.text, /^X-Postern-Stream: news\r\nX-Postern-Job: j1\r\nFrom: app@example\.org\r\n/);
  t.match(kept[0]?.text, /\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\nMessage-ID: <[^>]+>\r\n/);
});

test("standard input is submitted as it is, with CRLF line ends", async (t) => {
  const { server, kept } = await receiver(t);
  const input = "From: a@example.org\nSubject: hi\n\n.dot\nbody\n";
  const run = await runCli(["send", "--to", "a@x.test", "--from", "<>", "--server", server], { input });
  t.equal(run.status, 0, run.err);
  t.match(kept, [{ from: "", text: "From: a@example.org\r\nSubject: hi\r\n\r\n.dot\r\nbody\r\n" }]);
});

test("a caller that leaves standard input open and silent still gets its test message sent", async (t) => {
  const { server, kept } = await receiver(t);
  const run = await runCli(["send", "--to", "a@x.test", "--from", "app@example.org", "--server", server], {
    input: "open",
  });
  t.equal(run.status, 0);
  t.match(run.err, "standard input stays silent");
  t.equal(kept.length, 1);
});

test("many messages share a few connections and are counted", async (t) => {
  const { server, kept } = await receiver(t);
  const run = await runCli([
    "send",
    "--to",
    "a@x.test",
    "--server",
    server,
    "--count",
    "50",
    "--connections",
    "3",
    "--json",
  ]);
  t.equal(run.status, 0, run.err);
  t.match(JSON.parse(run.out), { accepted: 50, refused: 0, errors: [] });
  t.equal(new Set(JSON.parse(run.out).queueIds).size, 50);
  t.equal(kept.length, 50);
  t.equal(new Set(kept.map(({ session }) => session)).size, 3, "three sessions");
  t.equal(
    new Set(kept.map(({ text }) => /Message-ID: (.*)/.exec(text)?.[1])).size,
    50,
    "each has a Message-ID of its own",
  );
});

test("a refused recipient is status 1, whether the others were taken or not", async (t) => {
  const { server, kept } = await receiver(t);
  const part = await runCli([
    "send",
    "--to",
    "a@x.test",
    "bad@x.test",
    "--from",
    "app@example.org",
    "--server",
    server,
  ]);
  t.equal(part.status, 1);
  t.match(part.out, "250 2.0.0 queued as");
  t.match(part.err, /550 5\.1\.1 nobody/);
  const whole = await runCli(["send", "--to", "bad@x.test", "--from", "app@example.org", "--server", server]);
  t.same([whole.status, whole.out], [1, ""]);
  t.match(whole.err, /^postern: 550 5\.1\.1 nobody/);
  t.equal(kept.length, 1);
});

test("AUTH takes the password from the environment; a wrong one and a missing server are said clearly", async (t) => {
  const { server, kept } = await receiver(t);
  const args = ["send", "--to", "a@x.test", "--from", "app@example.org", "--server", server, "--user", "app1"];
  t.equal((await runCli(args, { env: { POSTERN_PASSWORD: "sesame" } })).status, 0);
  const wrong = await runCli(args, { env: { POSTERN_PASSWORD: "wrong" } });
  t.equal(wrong.status, 1);
  t.match(wrong.err, /^postern: 127\.0\.0\.1:\d+ refused us: 535/);
  t.equal((await runCli(args, { env: { POSTERN_PASSWORD: "" } })).status, 1);
  const nobody = await runCli(["send", "--to", "a@x.test", "--from", "<>", "--server", "127.0.0.1:1"]);
  t.equal(nobody.status, 1);
  t.match(nobody.err, /^postern: cannot submit to 127\.0\.0\.1:1 \(.*ECONNREFUSED.*\): is the server running\?\n$/);
  t.equal(kept.length, 1);
});
