// Delivery over real sockets and real TLS, to a receiver that others wrote.

import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import { test } from "tap";
import { newQuirks, openConnection, type Work } from "../../src/delivery/delivery.ts";
import { SystemClock } from "../../src/platform/system-clock.ts";
import { SystemRandom } from "../../src/platform/system-random.ts";
import { TcpNetwork } from "../../src/platform/tcp-network.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { RecordingFeed, specOf, testTimeouts, workOf } from "../support/lane-work.ts";

const folder = new URL("../fixture/tls/", import.meta.url);

async function deliverTo(options: SMTPServerOptions, work: readonly Work[], spec: Parameters<typeof specOf>[0] = {}) {
  const received: { readonly to: string[]; readonly content: string }[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disableReverseLookup: true,
    logger: false,
    onRcptTo: (address, _session, callback) => {
      const refusal = Object.assign(new Error("5.1.1 unknown"), { responseCode: 550 });
      callback(address.address.startsWith("bad") ? refusal : null);
    },
    onData: (stream, session, callback) => {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        const to = session.envelope.rcptTo.map((rcpt) => rcpt.address);
        received.push({ to, content: Buffer.concat(chunks).toString("latin1") });
        callback(null);
      });
    },
    ...options,
  });
  server.on("error", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.server.address() as AddressInfo;
  const clock = new SystemClock();
  const ca = [readFileSync(new URL("mx.example.com.cert.pem", folder), "utf8")];
  const ports = { clock, random: new SystemRandom(), network: new TcpNetwork({ ca }), log: silentLog };
  const feed = new RecordingFeed(work);
  const delivery = {
    timeouts: { ...testTimeouts, idleMs: 20 },
    isAllowedAddress: () => true,
    quirks: newQuirks(clock),
  };
  const exchangers = [{ host: "mx.example.com", preference: 10, addresses: ["127.0.0.1"] }];
  openConnection(ports, delivery, specOf({ port, exchangers, ...spec }), feed);
  await feed.whenClosed;
  await new Promise<void>((resolve) => server.close(resolve));
  return { feed, received };
}

function samples(): Work[] {
  const line = `.${"x".repeat(70)}\r\n`;
  return [
    workOf(),
    workOf({ to: ["bad@b.example", "good@b.example"], content: "A: 1\r\n\r\n.\r\n..dots\r\n" }),
    workOf({ to: ["bad@b.example"] }),
    workOf({ content: ["A: 2\r\n\r\n", ...new Array(80).fill(line.repeat(500))] }),
    workOf({ addedHeaders: "DKIM-Signature: v=1\r\n" }),
  ];
}

const wanted = [
  ["delivered"],
  ["permanent rcpt 550", "delivered"],
  ["permanent rcpt 550"],
  ["delivered"],
  ["delivered"],
];

for (const [name, options, hasTls] of [
  ["pipelined in clear", { disabledCommands: ["STARTTLS"] }, false],
  ["step by step in clear", { disabledCommands: ["STARTTLS"], hidePIPELINING: true }, false],
  ["in TLS", "tls", true],
] as const) {
  test(`mail gets through whole: ${name}`, async (t) => {
    const settings: SMTPServerOptions =
      options === "tls"
        ? {
            key: readFileSync(new URL("mx.example.com.key.pem", folder)),
            cert: readFileSync(new URL("mx.example.com.cert.pem", folder)),
          }
        : { ...options, disabledCommands: [...options.disabledCommands] };
    const work = samples();
    const { feed, received } = await deliverTo(settings, work);
    t.same(
      work.map((each) => feed.outcomes(each)),
      wanted,
    );
    t.equal(feed.tls?.verified === true, hasTls);
    const contents = work.map((each) => Buffer.concat([each.addedHeaders, ...each.content()]).toString("latin1"));
    t.ok(received.length === 4 && received.every((each, i) => each.content === contents[i < 2 ? i : i + 1]));
  });
}

test("required TLS refuses a certificate that does not verify", async (t) => {
  const work = [workOf()];
  const { feed, received } = await deliverTo({}, work, { tls: "required" });
  t.match(feed.failures, [{ kind: "network", stage: "starttls" }]);
  t.equal(received.length, 0);
});

test("opportunistic TLS takes a certificate that does not verify, and says so", async (t) => {
  const work = [workOf()];
  const { feed } = await deliverTo({}, work);
  t.same(feed.outcomes(work[0] as Work), ["delivered"]);
  t.equal(feed.tls?.verified, false);
});
