// The JavaScript heap of a Node process and of its threads after a forced collection, asked over the inspector protocol: the
// server itself has nothing built in for it.

import { pause } from "./clock.ts";

const openTimeoutMs = 10_000;
const answerTimeoutMs = 60_000;
const retryMs = 50;
/** A first collection runs finalizers, and the next one takes what they let go. */
const collections = 3;

interface Answer {
  readonly id?: number;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
  readonly method?: string;
  readonly params?: Record<string, unknown>;
}

type Waiting = (answer: Answer) => void;

/** Sends a command to one isolate; rejects when it is refused. */
type Ask = (method: string) => Promise<Record<string, unknown>>;

/** `--inspect` for the process to be probed. */
export function inspectOption(port: number): string {
  return `--inspect=127.0.0.1:${port}`;
}

/** A connection to a process that was started with `inspectOption`. Its threads are those that run at the time. */
export class HeapProbe implements Disposable {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<string, Waiting>();
  readonly #threads = new Map<string, Ask>();
  #asked = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => this.#received("", JSON.parse(String(data)) as Answer));
  }

  /** Rejects when no inspector answers there in time. */
  static async open(port: number, timeoutMs: number = openTimeoutMs): Promise<HeapProbe> {
    const socket = new WebSocket(await debuggerUrl(port, timeoutMs));
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener("open", () => resolve());
      socket.addEventListener("error", () => reject(new Error("the inspector refuses the connection")));
    });
    const probe = new HeapProbe(socket);
    await probe.#ask("", "NodeWorker.enable", { waitForDebuggerOnStart: false });
    return probe;
  }

  /** Octets of the heaps, of the main thread and all others, after full collections. */
  async usedBytes(): Promise<number> {
    let used = 0;
    for (const ask of [(method: string) => this.#ask("", method), ...this.#threads.values()]) {
      await ask("HeapProfiler.enable");
      for (let i = 0; i < collections; i++) await ask("HeapProfiler.collectGarbage");
      const { usedSize, embedderHeapUsedSize = 0 } = await ask("Runtime.getHeapUsage");
      used += Number(usedSize) + Number(embedderHeapUsedSize);
      await ask("HeapProfiler.disable");
    }
    return used;
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }

  /** `thread`: the session of a thread; empty: the main thread. */
  #ask(thread: string, method: string, params: object = {}): Promise<Record<string, unknown>> {
    const id = ++this.#asked;
    const command = JSON.stringify({ id, method, params });
    return new Promise((resolve, reject) => {
      const key = `${thread} ${id}`;
      const timer = setTimeout(() => reject(new Error(`no answer to ${method}`)), answerTimeoutMs);
      this.#waiting.set(key, ({ result, error }) => {
        clearTimeout(timer);
        this.#waiting.delete(key);
        if (error === undefined) resolve(result ?? {});
        else reject(new Error(`${method}: ${error.message}`));
      });
      if (thread === "") this.#socket.send(command);
      else this.#tell("NodeWorker.sendMessageToWorker", { sessionId: thread, message: command });
    });
  }

  /** A command whose own answer tells nothing. */
  #tell(method: string, params: object): void {
    this.#socket.send(JSON.stringify({ id: ++this.#asked, method, params }));
  }

  #received(thread: string, { id, result, error, method, params = {} }: Answer): void {
    const sessionId = String(params.sessionId);
    if (method === "NodeWorker.attachedToWorker")
      this.#threads.set(sessionId, (command) => this.#ask(sessionId, command));
    else if (method === "NodeWorker.detachedFromWorker") this.#threads.delete(sessionId);
    else if (method === "NodeWorker.receivedMessageFromWorker") {
      this.#received(sessionId, JSON.parse(String(params.message)) as Answer);
    } else if (id !== undefined)
      this.#waiting.get(`${thread} ${id}`)?.({ ...(result && { result }), ...(error && { error }) });
  }
}

async function debuggerUrl(port: number, timeoutMs: number): Promise<string> {
  for (let waitedMs = 0; ; waitedMs += retryMs) {
    try {
      const targets = (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()) as {
        readonly webSocketDebuggerUrl: string;
      }[];
      const [target] = targets;
      if (target !== undefined) return target.webSocketDebuggerUrl;
    } catch (error) {
      if (waitedMs > timeoutMs) throw new Error("the inspector does not answer", { cause: error });
    }
    await pause(retryMs);
  }
}
