// The network port over real sockets on loopback.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server, Socket } from "node:net";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { type Test, test } from "tap";
import type { Connection, NetworkError, TlsOptions } from "../../src/core/network.ts";
import { TcpNetwork } from "../../src/platform/tcp-network.ts";

const fixture = (name: string) => readFileSync(new URL(`../fixture/tls/${name}`, import.meta.url), "utf8");
const cert = fixture("mx.example.com.cert.pem");
const key = fixture("mx.example.com.key.pem");

interface Listener {
  readonly port: number;
  readonly sockets: Socket[];
}

async function listen(t: Test, server: Server, onSocket?: (socket: Socket) => void): Promise<Listener> {
  const sockets: Socket[] = [];
  server.on("connection", (socket: Socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    onSocket?.(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, sockets };
}

function dial(network: TcpNetwork, port: number, localAddress?: string): Promise<Connection> {
  return network.connect({ address: "127.0.0.1", port, localAddress, timeoutMs: 2000 });
}

/** Collects what arrives, and the end. */
function watch(connection: Connection) {
  const ended = Promise.withResolvers<NetworkError | undefined>();
  const seen = { text: "", ends: 0, ended: ended.promise };
  connection.onData = (chunk) => {
    seen.text += chunk.toString("latin1");
  };
  connection.onClose = (error) => {
    seen.ends++;
    ended.resolve(error);
  };
  return seen;
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !condition(); i++) await sleep(5);
}

const network = new TcpNetwork({ ca: [cert] });

test("octets go both ways, and the peer's end is told once", async (t) => {
  const { port } = await listen(t, createServer(), (socket) => {
    socket.write("220 hello\r\n");
    socket.on("data", (chunk) => socket.end(`250 ${chunk}`));
  });
  const connection = await dial(network, port);
  t.equal(connection.remoteAddress, "127.0.0.1");
  t.equal(connection.localAddress, "127.0.0.1");
  const seen = watch(connection);
  t.equal(connection.write([Buffer.from("EHLO "), Buffer.from("x"), new Uint8Array([13, 10])]), undefined);
  t.equal(await seen.ended, undefined);
  t.equal(seen.text, "220 hello\r\n250 EHLO x\r\n");
  await sleep(20);
  t.equal(seen.ends, 1);
  t.equal(connection.write([Buffer.from("late")]), undefined, "a write after the end does nothing");
  connection.end();
  connection.destroy();
});

test("octets and an end that come before anybody listens are not lost", async (t) => {
  const { port } = await listen(t, createServer(), (socket) => socket.end("220 early bird\r\n"));
  const connection = await dial(network, port);
  await sleep(50);
  const seen = watch(connection);
  t.equal(await seen.ended, undefined);
  t.equal(seen.text, "220 early bird\r\n");
});

test("a flight of many chunks is one write to the system", async (t) => {
  const { port } = await listen(t, createServer(), (socket) => socket.resume());
  const connection = await dial(network, port);
  watch(connection);
  const writev = Socket.prototype._writev as NonNullable<typeof Socket.prototype._writev>;
  let calls = 0;
  let writes = 0;
  t.intercept(Socket.prototype, "_writev", {
    value(this: Socket, ...args: Parameters<typeof writev>) {
      if (this.remotePort === port) calls++;
      return writev.apply(this, args);
    },
  });
  const write = Socket.prototype._write;
  t.intercept(Socket.prototype, "_write", {
    value(this: Socket, ...args: Parameters<typeof write>) {
      if (this.remotePort === port) writes++;
      return write.apply(this, args);
    },
  });
  connection.write(Array.from({ length: 50 }, (_, i) => Buffer.from(`RCPT TO:<${i}@x>\r\n`)));
  t.equal(calls, 1);
  connection.write([Buffer.from("RSET\r\n")]);
  t.equal(writes, 1);
  connection.destroy();
});

test("a peer that does not read makes the writer wait, and all arrives in the end", async (t) => {
  const { port, sockets } = await listen(t, createServer({ pauseOnConnect: true }));
  const connection = await dial(network, port);
  watch(connection);
  const block = Buffer.alloc(1 << 20, "x");
  let sent = 0;
  let wait: Promise<void> | undefined;
  while (wait === undefined && sent < 64 << 20) {
    wait = connection.write([block]);
    sent += block.length;
  }
  t.ok(wait !== undefined, "there is back-pressure");
  let drained = false;
  wait?.then(() => {
    drained = true;
  });
  await sleep(30);
  t.equal(drained, false);
  await until(() => sockets.length > 0);
  let got = 0;
  sockets[0]?.on("data", (chunk) => {
    got += chunk.length;
  });
  sockets[0]?.resume();
  await wait;
  await until(() => got === sent);
  t.equal(got, sent);
  connection.destroy();
});

test("a writer that waits is released when the connection breaks or is destroyed", async (t) => {
  const { port, sockets } = await listen(t, createServer({ pauseOnConnect: true }));
  for (const how of ["peer", "destroy"]) {
    const connection = await dial(network, port);
    const seen = watch(connection);
    const wait = connection.write([Buffer.alloc(32 << 20)]);
    t.ok(wait !== undefined);
    await until(() => sockets.length > 0);
    if (how === "peer") sockets.shift()?.resetAndDestroy();
    else connection.destroy();
    await wait;
    if (how === "peer") t.match(await seen.ended, { code: /ECONNRESET|EPIPE/ });
    else {
      await sleep(20);
      t.equal(seen.ends, 0, "destroy() tells nobody");
    }
  }
});

test("end() sends what is written, then closes", async (t) => {
  let received = "";
  const { port } = await listen(t, createServer(), (socket) =>
    socket.on("data", (chunk) => {
      received += chunk;
    }),
  );
  const connection = await dial(network, port);
  const seen = watch(connection);
  connection.write([Buffer.from("QUIT\r\n")]);
  connection.end();
  t.equal(await seen.ended, undefined);
  t.equal(received, "QUIT\r\n");
});

test("faults of the network and of our own side carry the system's code", async (t) => {
  const gone = createServer();
  gone.listen(0, "127.0.0.1");
  await once(gone, "listening");
  const { port } = gone.address() as AddressInfo;
  gone.close();
  await once(gone, "close");
  await t.rejects(dial(network, port), { name: "NetworkError", code: "ECONNREFUSED" });
  const { port: open } = await listen(t, createServer());
  await t.rejects(dial(network, open, "192.0.2.1"), { code: "EADDRNOTAVAIL" });
  const connection = await dial(network, open, "127.0.0.77");
  t.equal(connection.localAddress, "127.0.0.77");
  connection.destroy();
});

test("a connect that takes too long ends, and what it opened is closed", async (t) => {
  const { port, sockets } = await listen(t, createServer());
  // From here timers come before sockets: after the pause the deadline is the first thing that the process sees.
  await nextTurn();
  const late = network.connect({ address: "127.0.0.1", port, localAddress: undefined, timeoutMs: 2 });
  const resumeAt = performance.now() + 10;
  while (performance.now() < resumeAt) {}
  await t.rejects(late, { name: "NetworkError", code: "ETIMEDOUT" });
  await until(() => sockets.length > 0);
  sockets[0]?.resume();
  await until(() => sockets[0]?.destroyed === true);
  t.equal(sockets[0]?.destroyed, true);
});

// What follows speaks TLS as SMTP does: some clear text first, then the handshake on the same connection.

interface StartTlsServer extends Listener {
  readonly secured: TLSSocket[];
}

async function startTlsServer(
  t: Test,
  options: { maxVersion?: "TLSv1.2"; after?: string } = {},
): Promise<StartTlsServer> {
  const secured: TLSSocket[] = [];
  const tls = createTlsServer(
    { key, cert, ...(options.maxVersion ? { maxVersion: options.maxVersion } : {}) },
    (socket) => {
      secured.push(socket);
      socket.on("error", () => {});
      socket.write("220 safe\r\n");
      socket.on("data", (chunk) => socket.write(`250 ${chunk}`));
    },
  );
  const listener = await listen(t, createServer(), (socket) => {
    socket.once("data", () => {
      socket.write(`220 go${options.after ?? ""}\r\n`);
      tls.emit("connection", socket);
    });
  });
  return { ...listener, secured };
}

const tlsOptions: TlsOptions = { serverName: "mx.example.com", verify: false, sessionKey: "k", timeoutMs: 2000 };

async function secure(own: TcpNetwork, port: number, changes: Partial<TlsOptions> = {}) {
  const connection = await dial(own, port);
  const seen = watch(connection);
  connection.write([Buffer.from("STARTTLS\r\n")]);
  await until(() => seen.text.includes("220 go"));
  const info = await connection.startTls({ ...tlsOptions, ...changes });
  await until(() => seen.text.includes("220 safe"));
  return { connection, seen, info };
}

test("startTls verifies the certificate, and goes on without where it may", async (t) => {
  const { port, secured } = await startTlsServer(t);
  const verified = await secure(network, port, { verify: true });
  t.match(verified.info, { version: "TLSv1.3", cipher: /^TLS_/, verified: true });
  t.equal(secured[0]?.servername, "mx.example.com");
  verified.connection.write([Buffer.from("EH"), Buffer.from("LO\r\n")]);
  await until(() => verified.seen.text.includes("250"));
  t.match(verified.seen.text, "220 safe\r\n250 EHLO\r\n");
  verified.connection.end();
  t.equal(await verified.seen.ended, undefined);

  const other = await secure(network, port, { serverName: "mx.other.example" });
  t.equal(other.info.verified, false, "another name");
  other.connection.destroy();
  const unknown = await secure(new TcpNetwork(), port);
  t.equal(unknown.info.verified, false, "an unknown issuer");
  unknown.connection.destroy();
  const literal = await secure(network, port, { serverName: "127.0.0.1" });
  t.equal(literal.info.verified, false, "an address");
  literal.connection.destroy();
});

test("with verify a bad certificate ends the connection", async (t) => {
  const { port } = await startTlsServer(t);
  await t.rejects(secure(network, port, { serverName: "mx.other.example", verify: true }), {
    name: "NetworkError",
    code: "ERR_TLS_CERT_ALTNAME_INVALID",
  });
  await t.rejects(secure(new TcpNetwork(), port, { verify: true }), { code: /SELF_SIGNED/ });
});

for (const maxVersion of [undefined, "TLSv1.2"] as const) {
  test(`sessions are resumed between connections of one key (${maxVersion ?? "TLSv1.3"})`, async (t) => {
    const own = new TcpNetwork({ ca: [cert] });
    const { port, secured } = await startTlsServer(t, maxVersion ? { maxVersion } : {});
    const connect = async (changes: Partial<TlsOptions> = {}) => {
      const { connection, info } = await secure(own, port, changes);
      await sleep(10);
      connection.destroy();
      return { info, resumed: secured.at(-1)?.isSessionReused() };
    };
    t.match(await connect(), { info: { verified: true }, resumed: false });
    t.match(await connect(), { info: { verified: true }, resumed: true });
    t.match(await connect({ verify: true }), { info: { verified: true }, resumed: true });
    t.match(await connect({ sessionKey: "other" }), { resumed: false });
  });
}

test("a resumed session does not become valid by being resumed", async (t) => {
  const own = new TcpNetwork({ ca: [cert] });
  const { port, secured } = await startTlsServer(t);
  for (const resumed of [false, true]) {
    const { connection, info } = await secure(own, port, { serverName: "mx.other.example" });
    await sleep(10);
    connection.destroy();
    t.equal(secured.at(-1)?.isSessionReused(), resumed);
    t.equal(info.verified, false, "the chain is good, the name is not");
  }
  await t.rejects(secure(own, port, { serverName: "mx.other.example", verify: true }), {
    code: "ERR_TLS_CERT_ALTNAME_INVALID",
  });
});

test("clear text put in before the handshake never becomes a part of the protected session", async (t) => {
  const { port } = await startTlsServer(t, { after: "\r\n250 injected" });
  const connection = await dial(network, port);
  const seen = watch(connection);
  connection.write([Buffer.from("STARTTLS\r\n")]);
  await until(() => seen.text.includes("220 go"));
  const before = seen.text;
  t.match(before, "250 injected", "what came together with the 220 came in clear, before startTls");
  await connection.startTls(tlsOptions);
  await until(() => seen.text.includes("220 safe"));
  t.equal(seen.text, `${before}220 safe\r\n`);
  connection.destroy();
  // What nobody has read yet when the handshake begins breaks it.
  const unread = await dial(network, port);
  unread.write([Buffer.from("STARTTLS\r\n")]);
  await sleep(50);
  await t.rejects(unread.startTls(tlsOptions), { name: "NetworkError" });
});

test("a peer that talks nonsense, is silent or leaves fails the handshake, once", async (t) => {
  const manners: Record<string, (socket: Socket) => void> = {
    nonsense: (socket) => socket.write("500 what?\r\n"),
    silence: () => {},
    leaving: (socket) => socket.end(),
    reset: (socket) => socket.resetAndDestroy(),
  };
  for (const [name, behave] of Object.entries(manners)) {
    const { port } = await listen(t, createServer(), (socket) => socket.once("data", () => behave(socket)));
    const connection = await dial(network, port);
    const seen = watch(connection);
    await t.rejects(connection.startTls({ ...tlsOptions, timeoutMs: 100 }), { name: "NetworkError" }, name);
    await sleep(10);
    t.equal(seen.ends, 0, `${name}: the rejection is the end`);
    t.equal(connection.write([Buffer.from("x")]), undefined);
    connection.end();
    connection.destroy();
  }
});

test("a connection that is destroyed during the handshake rejects it", async (t) => {
  const { port } = await listen(t, createServer());
  const connection = await dial(network, port);
  watch(connection);
  const upgrade = connection.startTls(tlsOptions);
  setTimeout(() => connection.destroy(), 20);
  await t.rejects(upgrade, { name: "NetworkError" });
});

test("a break in the middle of TLS is told with its code", async (t) => {
  const { port, sockets } = await startTlsServer(t);
  const { connection, seen } = await secure(network, port);
  sockets[0]?.resetAndDestroy();
  t.match(await seen.ended, { code: "ECONNRESET" });
  t.equal(seen.ends, 1);
  connection.destroy();
});
