// Calls from a harness to a process that it started, over the IPC channel of node:child_process.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";

/** What a process can be asked, by name. Arguments and results travel by structured clone. */
export type Api = Readonly<Record<string, (argument: never) => unknown>>;

interface Call {
  readonly call: number;
  readonly method: string;
  readonly argument: unknown;
}

type Result =
  | { readonly call: number; readonly value: unknown }
  | { readonly call: number; readonly failure: string; readonly stack: string | undefined };

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** How long a process may take to end by itself before it is killed. */
const stopTimeoutMs = 3_000;

/** A process of ours that answers calls. It ends when its channel closes, so it does not outlive the harness. */
export class Remote<Methods extends Api> {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #waiting = new Map<number, Waiting>();
  #calls = 0;

  constructor(script: URL, name: string) {
    this.#name = name;
    this.#child = fork(script, [], { serialization: "advanced", execArgv: [] });
    this.#child.on("message", (message) => this.#settle(message as Result));
    this.#child.on("exit", (code, signal) => this.#failAll(new Error(`${name} ended (${signal ?? code})`)));
    this.#child.on("error", (cause) => this.#failAll(new Error(`${name} could not be started`, { cause })));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  call<Name extends keyof Methods & string>(
    method: Name,
    ...argument: Parameters<Methods[Name]>
  ): Promise<Awaited<ReturnType<Methods[Name]>>> {
    const call = ++this.#calls;
    return new Promise((resolve, reject) => {
      this.#waiting.set(call, { resolve: resolve as (value: unknown) => void, reject });
      const message: Call = { call, method, argument: argument[0] };
      this.#child.send(message, (error) => {
        if (error !== null) this.#fail(call, new Error(`${this.#name} cannot be reached`, { cause: error }));
      });
    });
  }

  /** Closes the channel and waits for the end; kills the process when it takes too long. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const ended = once(child, "exit");
    if (child.connected) child.disconnect();
    const timer = setTimeout(() => child.kill("SIGKILL"), stopTimeoutMs);
    await ended;
    clearTimeout(timer);
  }

  /** For the last moments of the harness: kills at once, without waiting. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }

  #settle(result: Result): void {
    const waiting = this.#waiting.get(result.call);
    if (waiting === undefined) return;
    this.#waiting.delete(result.call);
    if ("failure" in result) waiting.reject(this.#errorOf(result.failure, result.stack));
    else waiting.resolve(result.value);
  }

  /** Its message is for people; where it came from over there is in its stack. */
  #errorOf(failure: string, stack: string | undefined): Error {
    const error = new Error(`${this.#name}: ${failure}`);
    if (stack !== undefined) error.stack = `${error.stack}\n${stack}`;
    return error;
  }

  #fail(call: number, error: Error): void {
    this.#waiting.get(call)?.reject(error);
    this.#waiting.delete(call);
  }

  #failAll(error: Error): void {
    for (const call of [...this.#waiting.keys()]) this.#fail(call, error);
  }
}

/** The other side: answers calls with these functions until the channel closes, then ends the process. */
export function answerCalls(methods: Readonly<Record<string, (argument: never) => unknown>>): void {
  process.on("message", (message) => void answer(methods, message as Call));
  process.on("disconnect", () => process.exit(0));
  // Ctrl-C reaches the whole process group; the harness decides when we end.
  process.on("SIGINT", () => undefined);
}

async function answer(methods: Readonly<Record<string, (argument: never) => unknown>>, call: Call): Promise<void> {
  let result: Result;
  try {
    const method = methods[call.method];
    if (method === undefined) throw new Error(`no method ${call.method}`);
    result = { call: call.call, value: await method(call.argument as never) };
  } catch (error) {
    const { message, stack } = error as Error;
    result = { call: call.call, failure: message, stack };
  }
  process.send?.(result);
}
