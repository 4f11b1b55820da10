// The life of one connection of a lane: connecting, busy, idle, closed.

import type { ClientSession } from "../smtp/client-session.ts";
import { Deadline } from "../smtp/deadline.ts";
import { ConnectControl, type ConnectParts, connect } from "./connect.ts";
import type { LaneConnection } from "./delivery.ts";
import { type DialogueParts, MailDialogue } from "./transaction.ts";

type Busy = { readonly kind: "busy"; readonly session: ClientSession; readonly dialogue: MailDialogue };
/** `busy` is what it will be again. */
type Idle = { readonly kind: "idle"; readonly busy: Busy };
type State =
  | { readonly kind: "connecting"; readonly control: ConnectControl }
  | Busy
  | Idle
  | { readonly kind: "closed" };

/** One connection. It lives from its making until it calls `feed.closed()`. */
export class OutboundConnection implements LaneConnection {
  readonly #parts: ConnectParts & DialogueParts;
  readonly #idleDeadline: Deadline;
  #state: State;
  /** Ends the rest of an idle connection: true when there may be work. */
  #resume: (isWoken: boolean) => void = () => {};

  constructor(parts: ConnectParts & DialogueParts) {
    this.#parts = parts;
    const { idleMs } = parts.timeouts;
    this.#idleDeadline = new Deadline(parts.clock, idleMs, () => this.#endRest(false));
    this.#state = { kind: "connecting", control: new ConnectControl() };
  }

  get state(): LaneConnection["state"] {
    return this.#state.kind;
  }

  wake(): void {
    this.#endRest(true);
  }

  drain(): void {
    switch (this.#state.kind) {
      case "connecting":
        this.#state.control.cancel();
        this.#close();
        break;
      case "busy":
        this.#state.dialogue.stop();
        break;
      case "idle":
        this.#state.busy.dialogue.stop();
        this.#endRest(false);
        break;
      case "closed":
        break;
    }
  }

  breakOff(): void {
    if (this.#state.kind === "busy") this.#state.session.fail("broken off, since the server stops");
    else this.drain();
  }

  /** The whole life. Never rejects but for a bug. */
  async run(): Promise<void> {
    if (this.#state.kind !== "connecting") return;
    const result = await connect(this.#parts, this.#state.control);
    const { feed } = this.#parts;
    switch (result.kind) {
      case "cancelled":
        return;
      case "failed":
        feed.failed(result.fault, result.remote);
        return this.#close();
      case "ready": {
        const { session, peer } = result;
        // Drained between the end of the greeting and this turn.
        if (this.state === "closed") return session.close();
        const busy: Busy = { kind: "busy", session, dialogue: new MailDialogue(session, peer, this.#parts) };
        this.#state = busy;
        feed.opened({ remote: { name: peer.name, address: peer.address }, tls: peer.tls });
        return await this.#work(busy);
      }
    }
  }

  async #work(busy: Busy): Promise<void> {
    const { session, dialogue } = busy;
    const { idleMs } = this.#parts.timeouts;
    // Made once: with many connections most rest for long, and what is made for a rest outlives the young generation.
    const idle: Idle = { kind: "idle", busy };
    const keepResume = (resolve: (isWoken: boolean) => void): void => {
      this.#resume = resolve;
    };
    session.onEnd = () => this.#endRest(false);
    while (session.fault === undefined) {
      await dialogue.run();
      if (session.fault !== undefined || dialogue.isUsedUp) break;
      this.#state = idle;
      this.#idleDeadline.set(idleMs);
      const isWoken = await new Promise<boolean>(keepResume);
      this.#idleDeadline.clear();
      this.#tellWhyClosed(session);
      if (!isWoken) break;
    }
    // RFC 5321 section 4.1.1.10.
    if (session.fault === undefined) await session.quit();
    else session.close();
    this.#close();
  }

  /** A peer that closes an idle connection does no more than it may; a 421 may tell why (RFC 5321 section 3.8). */
  #tellWhyClosed({ fault }: ClientSession): void {
    if (fault?.kind === "reply") this.#parts.feed.closedByPeer(fault);
  }

  #endRest(isWoken: boolean): void {
    if (this.#state.kind !== "idle") return;
    this.#state = this.#state.busy;
    this.#resume(isWoken);
  }

  #close(): void {
    if (this.#state.kind === "closed") return;
    this.#state = { kind: "closed" };
    this.#idleDeadline.close();
    this.#parts.feed.closed();
  }
}
