// STARTTLS and implicit TLS: nothing sent in clear lives on, passwords wait for TLS, certificates are reloaded.

import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { test } from "tap";
import type { SmtpListenerConfig } from "../../src/config/config.ts";
import { SimClock } from "../support/sim-clock.ts";
import { Client, contentOf, ingestConfig, startIngest } from "./ingest-fixture.ts";

const pem = (name: string) => join(import.meta.dirname, "..", "fixture", "tls", name);
const one = { certFile: pem("ingest-one.cert.pem"), keyFile: pem("ingest-one.key.pem") };
const startTls: SmtpListenerConfig["tls"] = { ...one, mode: "starttls" };
const implicit: SmtpListenerConfig["tls"] = { ...one, mode: "implicit" };
const subject = (client: Client) => (client.socket as TLSSocket).getPeerCertificate().subject?.CN;

test("STARTTLS: the session begins anew, and Received says ESMTPS", async (t) => {
  const fixture = await startIngest(ingestConfig([{ tls: startTls }]));
  t.teardown(() => fixture.close());
  const client = await fixture.client();
  t.match(await client.ask("EHLO before.test"), /STARTTLS/);
  await client.ask("MAIL FROM:<clear@example.com>");
  t.match(await client.ask("STARTTLS now"), /^501/);
  t.match(await client.ask("STARTTLS"), /^220/);
  await client.startTls();
  t.equal(subject(client), "one.test");
  t.match(await client.ask("RCPT TO:<b@example.net>"), /^503/, "the transaction in clear is forgotten");
  t.match(await client.ask("MAIL FROM:<a@example.com>"), /^503/, "and so is EHLO");
  t.notMatch(await client.ask("EHLO after.test"), /STARTTLS/);
  t.match(await client.ask("STARTTLS"), /^503/);
  t.match(await client.deliver("x\r\n"), /^250/);
  t.match(
    contentOf(fixture.intake.last),
    /^Received: from after\.test .*\r\n\tby mta\.test with ESMTPS\r\n\t\(TLSv1\.3 /,
  );
});

test("what is sent in clear behind STARTTLS is never obeyed", async (t) => {
  const fixture = await startIngest(ingestConfig([{ tls: startTls }]));
  t.teardown(() => fixture.close());
  const injections = [
    "NOOP\r\n",
    "RSET\r\nMAIL FROM:<evil@example.com>\r\n",
    "NOOP ",
    "EHLO evil\r\nMAIL FROM:<evil@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nx\r\n.\r\n",
    "NOOP\r\n".repeat(500),
  ];
  for (const injection of injections) {
    const client = await fixture.client();
    await client.ask("EHLO client.test");
    client.send(`STARTTLS\r\n${injection}`);
    t.match(await client.reply(), /^220/);
    t.equal(client.unread, "", "no reply in clear");
    await client.startTls();
    t.match(
      await client.ask("EHLO client.test"),
      /^250-mta\.test greets client\.test/,
      JSON.stringify(injection.slice(0, 20)),
    );
    t.match(await client.ask("RCPT TO:<b@example.net>"), /^503/);
    t.equal(client.unread, "");
  }
  t.equal(fixture.intake.submissions.length, 0);
});

test("implicit TLS", async (t) => {
  const fixture = await startIngest(ingestConfig([{ tls: implicit, idleTimeoutMs: 200 }]));
  t.teardown(() => fixture.close());
  const client = await Client.connectTls(fixture.port);
  t.teardown(() => client.destroy());
  t.match(await client.reply(), /^220/);
  t.notMatch(await client.ask("EHLO client.test"), /STARTTLS/);
  t.match(await client.deliver("x\r\n"), /^250/);
  t.match(contentOf(fixture.intake.last), /with ESMTPS/);
  t.rejects(Client.connectTls(fixture.port, { minVersion: "TLSv1.1", maxVersion: "TLSv1.1" }));
  // A peer that begins no handshake, and one that trickles octets into it, are cut off.
  const mute = connect(fixture.port, "127.0.0.1");
  const trickling = connect(fixture.port, "127.0.0.1");
  const ends = [mute, trickling].map(
    (socket) => new Promise<void>((resolve) => socket.on("error", () => {}).on("close", () => resolve())),
  );
  const hello = Buffer.from("16030100c8010000c40303", "hex");
  for (let i = 0; i < 11 && !trickling.destroyed; i++) {
    trickling.write(hello.subarray(i, i + 1));
    await wait(50);
  }
  await Promise.all(ends);
  t.pass("both ended");
});

test("passwords only under TLS, unless the client is on this machine", async (t) => {
  const fixture = await startIngest(ingestConfig([{ tls: startTls, trust: [] }]));
  t.teardown(() => fixture.close());
  const client = await fixture.client();
  t.match(await client.ask("EHLO client.test"), /AUTH PLAIN LOGIN/, "loopback");
  const away = await startIngest(ingestConfig([{ listen: { host: "::", port: 0 }, tls: startTls }]));
  t.teardown(() => away.close());
  const local = await Client.connect(away.port);
  t.teardown(() => local.destroy());
  await local.reply();
  t.match(await local.ask("EHLO client.test"), /AUTH/, "IPv4 loopback on a dual-stack socket is loopback");
  t.match(await local.ask("MAIL FROM:<a@example.com>"), /^250/, "and trusted");
});

test("a certificate that was renewed is used within a minute, without a reload", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "postern-ingest-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const [certFile, keyFile] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  await copyFile(pem("ingest-one.cert.pem"), certFile);
  await copyFile(pem("ingest-one.key.pem"), keyFile);
  const clock = new SimClock();
  const fixture = await startIngest(ingestConfig([{ tls: { certFile, keyFile, mode: "implicit" } }]), { clock });
  t.teardown(() => fixture.close());
  const served = async () => {
    const client = await Client.connectTls(fixture.port);
    const name = subject(client);
    client.destroy();
    return name;
  };
  t.equal(await served(), "one.test");
  await copyFile(pem("ingest-two.cert.pem"), certFile);
  await copyFile(pem("ingest-two.key.pem"), keyFile);
  await clock.advance(61_000);
  for (let i = 0; (await served()) !== "two.test" && i < 100; i++) await wait(5);
  t.equal(await served(), "two.test");
});

test("a new certificate is used after a reload; a bad one leaves the old and says why; sessions live on", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "postern-ingest-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const certFile = join(folder, "cert.pem");
  const keyFile = join(folder, "key.pem");
  const install = async (name: string) => {
    await copyFile(pem(`ingest-${name}.cert.pem`), certFile);
    await copyFile(pem(`ingest-${name}.key.pem`), keyFile);
  };
  const config = ingestConfig([{ tls: { certFile, keyFile, mode: "implicit" } }]);
  await t.rejects(startIngest(config), {
    message: /certificate .*cert\.pem does not exist \(ingest\.smtp\[0\]\.tls\.cert\)/,
  });
  await install("one");
  const fixture = await startIngest(config);
  t.teardown(() => fixture.close());
  const connected = async () => {
    const client = await Client.connectTls(fixture.port);
    t.teardown(() => client.destroy());
    await client.reply();
    return client;
  };
  const old = await connected();
  t.equal(subject(old), "one.test");
  await writeFile(certFile, "nonsense");
  await t.rejects(fixture.ingest.reconfigure(config), { message: /cannot be used together.*ingest\.smtp\[0\]\.tls/ });
  await copyFile(pem("ingest-two.cert.pem"), certFile);
  await t.rejects(fixture.ingest.reconfigure(config), { message: /mismatch/ });
  t.equal(subject(await connected()), "one.test");
  await install("two");
  await fixture.ingest.reconfigure(config);
  t.equal(subject(await connected()), "two.test");
  await old.ask("EHLO client.test");
  t.match(await old.deliver("x\r\n"), /^250/, "the session under the old certificate goes on");
});
