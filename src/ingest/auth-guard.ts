// Checks passwords without letting anyone guess them or burn our CPU: bounded work in parallel, the same time for an
// unknown user, a delay and a limit per address for failures.

import { createHmac } from "node:crypto";
import type { UserConfig } from "../config/config.ts";
import type { Random } from "../core/random.ts";
import { type Clock, type Millis, minuteMs } from "../core/time.ts";
import { impossibleHash, parseScryptHash, passwordCharactersMax, type ScryptHash, verifyPassword } from "./password.ts";

/** Checks at once. They run in libuv's pool, which commits and file reads share. */
const checksMax = 2;
/** Checks that may wait; each takes some 30 ms. */
const waitingChecksMax = 64;
/** Failures are counted this long after the first one. */
const failureWindowMs = 10 * minuteMs;
/** Addresses that are counted; beyond it the oldest is forgotten. */
const addressesMax = 10_000;
/** A password that was right is not hashed again this long: an app that connects for each message stays cheap. */
const rememberedMs = 5 * minuteMs;
const rememberedMax = 1_000;

export type AuthAnswer = "right" | "wrong" | "busy";

export class AuthGuard {
  readonly #clock: Clock;
  readonly #delayMs: Millis;
  readonly #secret: Buffer;
  #running = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #failures = new Map<string, { count: number; sinceMs: Millis }>();
  readonly #remembered = new Map<string, Millis>();
  #decoy: ScryptHash | undefined;

  /** `delayMs`: how long the answer to a wrong password waits. */
  constructor(clock: Clock, random: Random, delayMs: Millis) {
    this.#clock = clock;
    this.#delayMs = delayMs;
    this.#secret = random.bytes(32);
  }

  /** Failures of the address (or IPv6 /64) within the last ten minutes. */
  failures(addressGroup: string): number {
    const entry = this.#failures.get(addressGroup);
    if (entry === undefined) return 0;
    if (this.#clock.monotonicMs() - entry.sinceMs < failureWindowMs) return entry.count;
    this.#failures.delete(addressGroup);
    return 0;
  }

  /**
   * Checks a password. `user` is undefined for a name that is not known: the work is the same. A wrong one is counted
   * for the address at once, so that parallel guesses count too, and answered after the delay.
   */
  async check(user: UserConfig | undefined, password: string, addressGroup: string): Promise<AuthAnswer> {
    const known = user === undefined ? undefined : parseScryptHash(user.passwordScrypt);
    const memo = this.#memo(user, password);
    if (known !== undefined && this.#isRemembered(memo)) return "right";
    if (this.#running >= checksMax) {
      if (this.#waiting.length >= waitingChecksMax) return "busy";
      const turn = Promise.withResolvers<void>();
      this.#waiting.push(turn.resolve);
      await turn.promise;
    } else this.#running++;
    let right = false;
    try {
      right = await verifyPassword(password.slice(0, passwordCharactersMax), known ?? this.#decoyHash(known));
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
    if (right && known !== undefined && password.length <= passwordCharactersMax) {
      this.#remember(memo);
      return "right";
    }
    this.#countFailure(addressGroup);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#clock.after(this.#delayMs, resolve);
    await promise;
    return "wrong";
  }

  /** Takes the users after a reload: the decoy costs what their passwords cost, and old passwords are forgotten. */
  setUsers(users: Iterable<UserConfig>): void {
    const [first] = users;
    this.#decoy = impossibleHash(first === undefined ? undefined : parseScryptHash(first.passwordScrypt));
    this.#remembered.clear();
  }

  #decoyHash(like: ScryptHash | undefined): ScryptHash {
    this.#decoy ??= impossibleHash(like);
    return this.#decoy;
  }

  /** Never the password: a keyed digest of it with the hash that it was checked against. */
  #memo(user: UserConfig | undefined, password: string): string {
    const text = JSON.stringify([user?.name, user?.passwordScrypt, password]);
    return createHmac("sha256", this.#secret).update(text).digest("base64");
  }

  #isRemembered(memo: string): boolean {
    const until = this.#remembered.get(memo);
    return until !== undefined && this.#clock.monotonicMs() < until;
  }

  #remember(memo: string): void {
    this.#remembered.delete(memo);
    dropOldest(this.#remembered, rememberedMax);
    this.#remembered.set(memo, this.#clock.monotonicMs() + rememberedMs);
  }

  #countFailure(addressGroup: string): void {
    const count = this.failures(addressGroup);
    if (count === 0) {
      dropOldest(this.#failures, addressesMax);
      this.#failures.set(addressGroup, { count: 1, sinceMs: this.#clock.monotonicMs() });
    } else (this.#failures.get(addressGroup) as { count: number }).count = count + 1;
  }
}

/** Maps keep the order of insertion: the first key is the oldest. */
function dropOldest(map: Map<string, unknown>, sizeMax: number): void {
  for (const key of map.keys()) {
    if (map.size < sizeMax) return;
    map.delete(key);
  }
}
