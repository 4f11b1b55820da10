// A client that others wrote (nodemailer): pooled sessions, STARTTLS, both AUTH mechanisms, DSN, attachments.

import { join } from "node:path";
import { createTransport } from "nodemailer";
import { test } from "tap";
import { hashPassword } from "../../src/ingest/password.ts";
import { contentOf, ingestConfig, startIngest } from "./ingest-fixture.ts";

const pem = (name: string) => join(import.meta.dirname, "..", "fixture", "tls", name);
const tls = { certFile: pem("ingest-one.cert.pem"), keyFile: pem("ingest-one.key.pem") };
const app = { name: "app", passwordScrypt: await hashPassword("open sesame"), streams: [], reversePaths: [] };

for (const authMethod of ["PLAIN", "LOGIN"]) {
  test(`nodemailer over STARTTLS with AUTH ${authMethod}: a pool sends messages of several sizes, and each arrives whole`, async (t) => {
    const fixture = await startIngest(ingestConfig([{ trust: [], tls: { ...tls, mode: "starttls" } }], [app]));
    t.teardown(() => fixture.close());
    const transport = createTransport({
      host: "127.0.0.1",
      port: fixture.port,
      pool: true,
      maxConnections: 3,
      requireTLS: true,
      authMethod,
      tls: { rejectUnauthorized: false },
      auth: { user: "app", pass: "open sesame" },
    });
    t.teardown(() => transport.close());
    const sizes = [0, 1, 1_000, 70_000, 1_000_000];
    await Promise.all(
      sizes.map((size) =>
        transport.sendMail({
          from: "Ann <ann@example.com>",
          to: ["b@example.net", "c@example.net"],
          subject: `size ${size}`,
          text: ".\n..dots\nand gr\u00fc\u00dfe\n".repeat(3),
          attachments: [{ filename: "x.bin", content: Buffer.alloc(size, 7) }],
          headers: { "X-Postern-Job": `job ${size}` },
          dsn: { id: "e1", return: "headers", notify: ["failure", "delay"], recipient: "ann@example.com" },
        }),
      ),
    );
    t.equal(fixture.intake.submissions.length, sizes.length);
    for (const submission of fixture.intake.submissions) {
      t.match(submission, {
        user: "app",
        fromDomain: "example.com",
        envelope: { ret: "hdrs", reversePath: "ann@example.com" },
      });
      t.same(submission.recipients[0]?.notify, ["failure", "delay"]);
      t.equal(submission.loggedHeaders.subject, submission.job?.replace("job", "size"));
      const content = contentOf(submission);
      t.match(content, /^Received: from \S+ \(\[127\.0\.0\.1\]\)\r\n\tby mta\.test with ESMTPSA\r\n/);
      const size = Number(submission.job?.slice(4));
      const octets = Buffer.from(content.split("x.bin\r\n\r\n").at(-1)?.split("\r\n--")[0] ?? "", "base64");
      t.equal(octets.length, size);
    }
  });
}

test("nodemailer hears why a wrong password and a message that is too large are refused", async (t) => {
  const fixture = await startIngest(ingestConfig([{ messageBytesMax: 1_000 }], [app]));
  t.teardown(() => fixture.close());
  const base = { host: "127.0.0.1", port: fixture.port, ignoreTLS: true };
  const wrong = createTransport({ ...base, auth: { user: "app", pass: "wrong" } });
  await t.rejects(wrong.sendMail({ from: "a@x.test", to: "b@x.test", text: "x" }), { message: /535/ });
  const large = createTransport(base);
  await t.rejects(large.sendMail({ from: "a@x.test", to: "b@x.test", text: "x".repeat(2_000) }), {
    message: /larger than 1000|552/,
  });
});
