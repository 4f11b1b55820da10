// A thread of clients that open a connection for each message; posts the medians of what they waited for.

import { parentPort, workerData } from "node:worker_threads";
import { Client } from "./ingest-fixture.ts";

const { port, sessions, messages } = workerData as { port: number; sessions: number; messages: number };
const content = `Subject: x\r\n\r\n${`${"x".repeat(76)}\r\n`.repeat(128)}`;
const greetings: number[] = [];
const replies: number[] = [];

async function run(): Promise<void> {
  for (let i = 0; i < messages; i++) {
    const start = performance.now();
    const client = await Client.connect(port);
    await client.reply();
    greetings.push(performance.now() - start);
    await client.ask("EHLO client.test");
    await client.begin();
    const sent = performance.now();
    client.send(content);
    await client.ask(".");
    replies.push(performance.now() - sent);
    client.destroy();
  }
}

function median(values: number[]): number {
  values.sort((a, b) => a - b);
  return values[values.length >> 1] as number;
}

await Promise.all(Array.from({ length: sessions }, run));
parentPort?.postMessage({ greetingMs: median(greetings), replyMs: median(replies) });
