// Who may submit: trusted networks, users, and nobody else. Passwords cannot be guessed.

import { test } from "tap";
import type { UserConfig } from "../../src/config/config.ts";
import { hashPassword } from "../../src/ingest/password.ts";
import { addressGroup, chooseStream, matchesPattern, plainAddress } from "../../src/ingest/submission-policy.ts";
import { type Client, ingestConfig, startIngest } from "./ingest-fixture.ts";

const passwordScrypt = await hashPassword("open sesame");
const app: UserConfig = { name: "app", passwordScrypt, streams: [], reversePaths: [] };
const shop: UserConfig = {
  ...app,
  name: "shop",
  streams: ["receipts"],
  reversePaths: ["*@shop.example", "ceo@x.example"],
};

const plain = (user: string, password: string) => Buffer.from(`\0${user}\0${password}`).toString("base64");
const login = (client: Client, user: string, password: string) => client.ask(`AUTH PLAIN ${plain(user, password)}`);

test("without trust and AUTH nothing is taken, whatever the address looks like", async (t) => {
  const fixture = await startIngest(ingestConfig([{ trust: ["192.0.2.0/24"], errorsMax: 100 }], [app]));
  t.teardown(() => fixture.close());
  const client = await fixture.client();
  await client.ask("EHLO client.test");
  const paths = [
    "<>",
    "<a@example.com>",
    "<a@mta.test>",
    "<a@[127.0.0.1]>",
    "<root@localhost>",
    "<@mta.test:a@example.com>",
  ];
  for (const path of paths) t.match(await client.ask(`MAIL FROM:${path}`), /^530 5\.7\.0/, path);
  t.match(await client.ask("RCPT TO:<b@example.net>"), /^503/);
  t.match(await client.ask("RCPT TO:<b%example.net@mta.test>"), /^503/);
  t.match(await client.ask("DATA"), /^503/);
  t.equal(fixture.intake.submissions.length, 0);
  t.equal(fixture.intake.rejections.length, paths.length);
  t.match(fixture.intake.rejections[1], { reversePath: "a@example.com", reply: { code: 530 } });
});

test("strangers cannot fill the delivery log with what they are refused; those who may submit are all heard", async (t) => {
  const stranger = await startIngest(ingestConfig([{ trust: [], errorsMax: 1_000 }]));
  t.teardown(() => stranger.close());
  const client = await stranger.client();
  await client.ask("EHLO client.test");
  await client.codes(Array.from({ length: 400 }, () => "MAIL FROM:<a@example.com>"));
  const noted = stranger.intake.rejections.length;
  t.ok(noted >= 100 && noted < 200, `${noted} of 400 are noted`);

  const known = await startIngest(ingestConfig([{ messageBytesMax: 1_000, errorsMax: 1_000 }]));
  t.teardown(() => known.close());
  const trusted = await known.client();
  await trusted.ask("EHLO client.test");
  await trusted.codes(Array.from({ length: 400 }, () => "MAIL FROM:<a@example.com> SIZE=5000"));
  t.equal(known.intake.rejections.length, 400);
});

test("auth: required asks the trusted as well; auth: off offers no AUTH", async (t) => {
  const required = await startIngest(ingestConfig([{ auth: "required" }], [app]));
  t.teardown(() => required.close());
  const client = await required.client();
  await client.ask("EHLO client.test");
  t.match(await client.ask("MAIL FROM:<a@example.com>"), /^530 5\.7\.0/);
  t.match(await login(client, "app", "open sesame"), /^235/);
  t.match(await client.ask("MAIL FROM:<a@example.com>"), /^250/);
  const off = await startIngest(ingestConfig([{ auth: "off" }], [app]));
  t.teardown(() => off.close());
  const other = await off.client();
  t.notMatch(await other.ask("EHLO client.test"), /AUTH/);
  t.match(await login(other, "app", "open sesame"), /^502/);
});

test("AUTH PLAIN and LOGIN, with and without an initial response", async (t) => {
  const fixture = await startIngest(ingestConfig([{ trust: [] }], [app, shop]));
  t.teardown(() => fixture.close());
  const start = async () => {
    const client = await fixture.client();
    t.match(await client.ask("EHLO client.test"), /AUTH PLAIN LOGIN/);
    return client;
  };
  const first = await start();
  t.match(await login(first, "app", "open sesame"), /^235 2\.7\.0/);
  t.match(await login(first, "app", "open sesame"), /^503/, "only once");
  t.match(await first.deliver("x\r\n"), /^250/);
  t.equal(fixture.intake.last.user, "app");
  const second = await start();
  t.equal(await second.ask("AUTH PLAIN"), "334 ".trim());
  t.match(await second.ask(plain("app", "open sesame")), /^235/);
  const third = await start();
  t.equal(await third.ask("AUTH LOGIN"), "334 VXNlcm5hbWU6");
  t.equal(await third.ask(Buffer.from("app").toString("base64")), "334 UGFzc3dvcmQ6");
  t.match(await third.ask(Buffer.from("open sesame").toString("base64")), /^235/);
  const fourth = await start();
  t.match(await fourth.ask("AUTH CRAM-MD5"), /^504/);
  t.equal(await fourth.ask("AUTH PLAIN"), "334");
  t.match(await fourth.ask("*"), /^501/, "the client gave up");
  const forOther = Buffer.from("root\0app\0open sesame").toString("base64");
  t.match(await fourth.ask(`AUTH PLAIN ${forOther}`), /^535 5\.7\.8/, "nobody acts for another one");
  t.match(await fourth.ask("MAIL FROM:<a@example.com>"), /^530/);
});

test("an unknown user gets the same reply after the same time as a wrong password", async (t) => {
  const fixture = await startIngest(ingestConfig([{ trust: [], errorsMax: 100, authFailuresMax: 100 }], [app]));
  t.teardown(() => fixture.close());
  const client = await fixture.client();
  await client.ask("EHLO client.test");
  const timed = async (user: string) => {
    const before = performance.now();
    const answer = await login(client, user, "wrong");
    return { answer, ms: performance.now() - before };
  };
  const known: number[] = [];
  const unknown: number[] = [];
  for (let i = 0; i < 5; i++) {
    const one = await timed("app");
    const other = await timed("nobody");
    t.equal(one.answer, other.answer);
    known.push(one.ms);
    unknown.push(other.ms);
  }
  const ratio = Math.min(...known) / Math.min(...unknown);
  t.ok(ratio > 0.6 && ratio < 1.7, `${Math.min(...known)} ms and ${Math.min(...unknown)} ms`);
});

test("too many wrong passwords turn an address away, but not the trusted who send no password", async (t) => {
  const fixture = await startIngest(ingestConfig([{ trust: [], authFailuresMax: 3 }], [app]));
  t.teardown(() => fixture.close());
  const client = await fixture.client();
  await client.ask("EHLO client.test");
  t.match(await login(client, "app", "1"), /^535/);
  t.match(await login(client, "app", "2"), /^535/);
  t.match(await login(client, "app", "3"), /^421 4\.7\.0/);
  t.equal(await client.reply(), "");
  const next = await fixture.client({ greeting: false });
  t.match(await next.reply(), /^421 4\.7\.0/);
  await fixture.ingest.reconfigure(ingestConfig([{ authFailuresMax: 3 }], [app]));
  const trusted = await fixture.client();
  await trusted.ask("EHLO client.test");
  t.match(await trusted.deliver("x\r\n"), /^250/);
  t.match(await login(trusted, "app", "open sesame"), /^421/, "the right one does not help now");
});

test("twenty guesses at once are answered, refused or told to wait, and end in 421", async (t) => {
  const config = ingestConfig([{ trust: [], authFailuresMax: 5, errorsMax: 1_000 }], [app]);
  const fixture = await startIngest(config);
  t.teardown(() => fixture.close());
  const clients = await Promise.all(Array.from({ length: 20 }, () => fixture.client()));
  await Promise.all(clients.map((client) => client.ask("EHLO client.test")));
  const answers = await Promise.all(clients.map((client) => login(client, "app", "guess")));
  t.ok(answers.every((answer) => /^(?:535|421|454)/.test(answer)));
  t.ok(answers.some((answer) => answer.startsWith("421")));
});

test("a user's reverse-paths and streams are limits", async (t) => {
  const fixture = await startIngest(ingestConfig([{ trust: [] }], [shop]));
  t.teardown(() => fixture.close());
  const client = await fixture.client();
  await client.ask("EHLO client.test");
  t.match(await login(client, "shop", "open sesame"), /^235/);
  t.match(await client.ask("MAIL FROM:<a@other.example>"), /^550 5\.7\.1/);
  t.match(await client.ask("MAIL FROM:<a@evil.shop.example>"), /^550 5\.7\.1/);
  t.match(await client.ask("MAIL FROM:<>"), /^250/);
  await client.ask("RSET");
  await client.begin("orders@SHOP.example");
  t.match(await client.ask("Subject: x\r\n\r\nx\r\n."), /^250/);
  t.equal(fixture.intake.last.stream, "receipts", "the default is not theirs");
  await client.begin("ceo@x.example");
  t.match(await client.ask("X-Postern-Stream: news\r\n\r\nx\r\n."), /^550 5\.7\.1 .*news/);
  await client.begin("ceo@x.example");
  t.match(await client.ask("X-Postern-Stream: nonsense\r\n\r\nx\r\n."), /^550 5\.7\.1 .*no stream nonsense/);
  await fixture.ingest.reconfigure(ingestConfig([{ trust: [] }], []));
  t.match(await client.ask("MAIL FROM:<ceo@x.example>"), /^530/, "a reload took the user away");
});

test("patterns, streams and address groups", async (t) => {
  t.ok(matchesPattern("*", "a@b"));
  t.ok(matchesPattern("*@*.example.com", "a@x.y.example.com"));
  t.notOk(matchesPattern("*@*.example.com", "a@example.com"));
  t.notOk(matchesPattern("*@example.com", "a@badexample.com"));
  t.ok(matchesPattern("Ann@example.com", "Ann@example.com"));
  t.notOk(matchesPattern("ann@example.com", "bob@example.com"));
  t.same(chooseStream(ingestConfig(), undefined, undefined), { kind: "stream", stream: "news" });
  t.same(chooseStream(ingestConfig(), undefined, "receipts"), { kind: "stream", stream: "receipts" });
  t.equal(addressGroup("192.0.2.1"), "192.0.2.1");
  t.equal(addressGroup("2001:db8::1"), "2001:db8:0:0::/64");
  t.equal(addressGroup("2001:db8:1:2:3::4"), "2001:db8:1:2::/64");
  t.equal(addressGroup("::1"), "0:0:0:0::/64");
  t.equal(plainAddress("::ffff:192.0.2.1"), "192.0.2.1");
});
