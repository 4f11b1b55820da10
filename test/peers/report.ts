// What a run found, as TAP lines, and the counts at its end.

const examplesMax = 5;

export class Report {
  #passed = 0;
  #failed = 0;
  #skipped = 0;

  get isGood(): boolean {
    return this.#failed === 0 && this.#passed > 0;
  }

  /** Passed when there are no problems; the first of them are shown. */
  check(what: string, problems: readonly string[]): void {
    if (problems.length > 0) {
      this.fail(what, problems);
      return;
    }
    this.#passed++;
    print(`ok ${this.#number()} - ${what}`);
  }

  fail(what: string, problems: readonly string[]): void {
    this.#failed++;
    print(`not ok ${this.#number()} - ${what}`);
    for (const problem of problems.slice(0, examplesMax)) this.comment(problem);
    if (problems.length > examplesMax) this.comment(`and ${problems.length - examplesMax} more`);
  }

  /** A peer that cannot run here: skipped, or failed where all are wanted. */
  skip(peer: string, why: string, isWanted: boolean): void {
    if (isWanted) {
      this.fail(peer, [why]);
      return;
    }
    this.#skipped++;
    print(`ok ${this.#number()} - ${peer} # SKIP ${peer}: ${why}`);
  }

  comment(text: string): void {
    print(`# ${text.trimEnd().replaceAll("\n", "\n# ")}`);
  }

  end(): void {
    print(`1..${this.#passed + this.#failed + this.#skipped}`);
    this.comment(`peers: ${this.#passed} passed, ${this.#failed} failed, ${this.#skipped} skipped`);
  }

  #number(): number {
    return this.#passed + this.#failed + this.#skipped;
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
