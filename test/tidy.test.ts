// The house's order, read from the source text: who may import whom, and where time, chance and the network may be used.
//
// The order in one sentence: a file imports its own room and rooms on lower floors; never a neighbour, never upward; from
// floor 2 up only through the room's door, the file named after the folder. What composes the house (the files at the
// top, cli/ and platform/) may open any room.

import { readdirSync, readFileSync } from "node:fs";
import { join, posix, relative, sep } from "node:path";
import { test } from "tap";

const sourceFolder = new URL("../src", import.meta.url).pathname;

const floors: Readonly<Record<string, number>> = {
  core: 0,
  smtp: 1,
  mime: 1,
  config: 1,
  telemetry: 1,
  spool: 2,
  resolve: 2,
  routing: 2,
  shaping: 2,
  signing: 2,
  delivery: 2,
  outcome: 2,
  reputation: 2,
  queue: 3,
  ingest: 4,
  admin: 4,
};
const doorsFromFloor = 2;
/** Composition: they see all rooms and platform. A file stands for itself, a folder for what is in it. */
const composers = new Set(["main.ts", "engine.ts", "shard.ts", "shard-calls.ts", "cli"]);
const platform = "platform";

interface Source {
  /** Relative to src, with slashes: `queue/lane.ts`. */
  readonly path: string;
  readonly text: string;
}

interface Import {
  readonly from: string;
  /** `import type`, or every name of it is a type. */
  readonly typeOnly: boolean;
  readonly names: readonly string[];
}

/** Words that reach past the ports Clock, Random, Network and Resolver. */
const bannedWords: readonly { readonly pattern: RegExp; readonly use: string }[] = [
  // `new Date(instant)` only writes an instant in another form.
  { pattern: /\bDate\b(?!\s*\(\s*[^\s)])/, use: "Date: take the port Clock" },
  { pattern: /\bperformance\s*\./, use: "performance: take the port Clock" },
  { pattern: /\b(?:setTimeout|setInterval|setImmediate)\b/, use: "a timer: take the port Clock" },
  { pattern: /\bMath\s*\.\s*random\b/, use: "Math.random: take the port Random" },
  { pattern: /\bprocess\s*\./, use: "process: hand in what is needed" },
];
/** Modules of the system, with the names in them that open nothing. */
const bannedModules = new Map<string, ReadonlySet<string>>([
  ["node:net", new Set(["isIP", "isIPv4", "isIPv6", "BlockList", "SocketAddress"])],
  // createSecureContext only reads certificates.
  ["node:tls", new Set(["createSecureContext"])],
  ["node:dns", new Set()],
  ["node:dns/promises", new Set()],
  ["node:dgram", new Set()],
  ["node:http", new Set()],
  ["node:https", new Set()],
  ["node:http2", new Set()],
  ["node:timers", new Set()],
  ["node:timers/promises", new Set()],
  ["node:process", new Set()],
  ["node:child_process", new Set()],
  ["node:worker_threads", new Set()],
  ["node:cluster", new Set()],
]);

test("the source keeps the order of the house", async (t) => {
  const sources = readSources(sourceFolder);
  const imports = sources.reduce((sum, source) => sum + importsOf(source.text).length, 0);
  t.comment(
    `${sources.length} files, ${imports} imports, ${new Set(sources.map(({ path }) => roomOf(path))).size} rooms`,
  );
  t.ok(sources.length > 20, "the files were found");
  t.ok(imports > sources.length, "the imports were found");
  for (const source of sources) t.same(faultsOf(source), [], source.path);
});

test("each fault is found where it is made", async (t) => {
  const faults = (path: string, code: string) => faultsOf({ path, text: `// What it is for.\n${code}\n` });
  const found = (path: string, code: string, fault: RegExp) => t.match(faults(path, code), [fault], `${path}: ${code}`);
  const clean = (path: string, code: string) => t.same(faults(path, code), [], `${path}: ${code}`);

  found("cellar/x.ts", "", /unknown room "cellar"/);
  found("extra.ts", "", /unknown file at the top/);
  found("core/x.ts", 'import { a } from "../smtp/path.ts";', /core \(floor 0\) imports smtp \(floor 1\)/);
  found("delivery/x.ts", 'import type { A } from "../resolve/resolve.ts";', /delivery \(floor 2\) imports resolve/);
  found("queue/x.ts", 'import { a } from "../spool/lmdb-spool.ts";', /past the door spool\/spool\.ts/);
  found("queue/x.ts", 'export { a } from "../spool/lmdb-spool.ts";', /past the door/);
  found("queue/x.ts", 'const { a } = await import("../ingest/ingest.ts");', /queue \(floor 3\) imports ingest/);
  found("queue/x.ts", 'import {\n  type A,\n  b,\n} from "../admin/admin.ts";', /queue \(floor 3\) imports admin/);
  found("queue/x.ts", 'import { a } from "../platform/system-clock.ts";', /platform is for/);
  found("queue/x.ts", 'import { a } from "../main.ts";', /imports main\.ts/);
  found("cli/x.ts", 'import "../nothing/x.ts";', /unknown room "nothing"/);
  clean(
    "queue/x.ts",
    'import { a } from "../spool/spool.ts";\nimport { b } from "../smtp/path.ts";\nimport { c } from "./lane.ts";',
  );
  clean("engine.ts", 'import { a } from "./platform/system-clock.ts";\nimport { b } from "./spool/lmdb-spool.ts";');
  clean("cli/x.ts", 'import { a } from "../signing/keygen.ts";');

  found("queue/x.ts", "const now = Date.now();", /Date: take/);
  // biome-ignore lint/suspicious/noTemplateCurlyInString: code under test
  found("queue/x.ts", "const text = `${new Date()}`;", /Date: take/);
  clean("queue/x.ts", "const text = new Date(instant).toISOString();");
  found("queue/x.ts", "setTimeout(f, 1);", /a timer/);
  found("queue/x.ts", "const r = Math.random();", /Math\.random/);
  found("queue/x.ts", "process.exit(1);", /process: hand in/);
  found("queue/x.ts", 'import { connect } from "node:net";', /node:net: connect/);
  found("queue/x.ts", 'import net from "node:net";', /node:net: net/);
  found("queue/x.ts", 'import dns from "node:dns";', /node:dns: dns/);
  clean(
    "queue/x.ts",
    'import { BlockList, isIP, type Socket } from "node:net";\nimport type { TLSSocket } from "node:tls";',
  );
  clean(
    "queue/x.ts",
    '// Date of Math.random\nconst a = "Date.now()";\nconst b = /Date"\'/;\nconst c = `process.exit`; /* setTimeout */',
  );
  clean("platform/x.ts", 'import net from "node:net";\nconst now = Date.now();');

  found("queue/x.ts", "let count = 0;", /module-level let/);
  found("queue/x.ts", "export let count = 0;", /module-level let/);
  clean("queue/x.ts", "function f() {\n  let count = 0;\n}");
  t.match(faultsOf({ path: "queue/x.ts", text: "const a = 1;\n" }), [/first line/]);
  t.same(faultsOf({ path: "cli/cli.ts", text: "#!/usr/bin/env node\n// The command.\n" }), []);
});

function readSources(folder: string): Source[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .map((file) => ({ path: relative(folder, file).split(sep).join("/"), text: readFileSync(file, "utf8") }));
}

function faultsOf(source: Source): string[] {
  const code = withoutCommentsAndTexts(source.text);
  const faults = [...placeFaults(source.path), ...importFaults(source)];
  if (!mayTouchTheSystem(source.path)) faults.push(...systemFaults(source.text, code));
  if (/^(?:export\s+)?(?:let|var)\s/m.test(code)) faults.push("module-level let: state belongs to an object");
  if (!/^(?:#![^\n]*\n)?\/[/*] ?\S/.test(source.text)) faults.push("the first line must say what the file is for");
  return faults;
}

/** The folder in src, or the file's name for one at the top. */
function roomOf(path: string): string {
  return path.split("/")[0] as string;
}

function composes(path: string): boolean {
  return composers.has(roomOf(path));
}

function mayTouchTheSystem(path: string): boolean {
  return composes(path) || roomOf(path) === platform;
}

function placeFaults(path: string): string[] {
  const room = roomOf(path);
  if (composers.has(room) || room === platform || floors[room] !== undefined) return [];
  return [path.includes("/") ? `unknown room "${room}": give it a floor here` : "unknown file at the top of src"];
}

function importFaults({ path, text }: Source): string[] {
  const faults: string[] = [];
  const room = roomOf(path);
  for (const { from } of importsOf(text)) {
    if (!from.startsWith(".")) continue;
    const target = posix.join(posix.dirname(path), from);
    const targetRoom = roomOf(target);
    if (targetRoom === room) continue;
    const targetFloor = floors[targetRoom];
    if (targetRoom === platform) {
      if (!composes(path)) faults.push("platform is for main.ts, engine.ts, shard.ts and cli/ alone");
    } else if (targetFloor === undefined) {
      if (composers.has(targetRoom)) {
        if (!composes(path)) faults.push(`${room} imports ${targetRoom}, which stands above all rooms`);
      } else {
        faults.push(`unknown room "${targetRoom}" in ${from}`);
      }
    } else {
      const floor = floors[room];
      if (floor === undefined) continue;
      if (targetFloor >= floor) {
        faults.push(`${room} (floor ${floor}) imports ${targetRoom} (floor ${targetFloor}): only lower floors`);
      } else if (targetFloor >= doorsFromFloor && target !== `${targetRoom}/${targetRoom}.ts`) {
        faults.push(`${target} is past the door ${targetRoom}/${targetRoom}.ts`);
      }
    }
  }
  return faults;
}

function systemFaults(text: string, code: string): string[] {
  const faults = bannedWords.filter(({ pattern }) => pattern.test(code)).map(({ use }) => use);
  for (const { from, typeOnly, names } of importsOf(text)) {
    const harmless = bannedModules.get(from);
    if (harmless === undefined || typeOnly) continue;
    const harmful = names.filter((name) => !harmless.has(name));
    if (harmful.length > 0) faults.push(`${from}: ${harmful.join(", ")}`);
  }
  return faults;
}

/** All of import and re-export, static and dynamic. `names` leaves out types. */
function importsOf(text: string): Import[] {
  const found: Import[] = [];
  for (const match of text.matchAll(/^(?:import|export)\s+(type\s+)?([^;"'`]*?)\s*from\s*"([^"]+)"/gm)) {
    const names = valueNames(match[2] as string);
    found.push({ from: match[3] as string, typeOnly: match[1] !== undefined || names.length === 0, names });
  }
  for (const match of text.matchAll(/^import\s*"([^"]+)"/gm)) {
    found.push({ from: match[1] as string, typeOnly: false, names: ["(all)"] });
  }
  for (const match of text.matchAll(/\b(?:import|require)\s*\(\s*"([^"]+)"/g)) {
    found.push({ from: match[1] as string, typeOnly: false, names: ["(all)"] });
  }
  return found;
}

function valueNames(clause: string): string[] {
  const braces = /\{([^}]*)\}/.exec(clause);
  const listed = (braces?.[1] ?? "")
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "" && !name.startsWith("type "))
    .map((name) => name.split(/\s+as\s+/)[0] as string);
  const bare = clause
    .replace(/\{[^}]*\}/, "")
    .replaceAll(",", " ")
    .trim();
  return bare === "" ? listed : [bare, ...listed];
}

/** The code with comments, texts and regular expressions blanked out; what stands in `${}` of a template is code. */
function withoutCommentsAndTexts(text: string): string {
  const pattern =
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|(?<=(?:^|[(,=:[!&|?{};\n>]|\breturn)\s*)\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*|[`{}]|\$\{|\\`/g;
  // Each open brace is either a block's or a template's `${`; a closing one of the latter goes on with the template.
  const open: ("block" | "template")[] = [];
  let out = "";
  let at = 0;
  const skipTemplate = (from: number): number => {
    for (let i = from; i < text.length; i++) {
      if (text[i] === "\\") i++;
      else if (text[i] === "`") return i + 1;
      else if (text[i] === "$" && text[i + 1] === "{") {
        open.push("template");
        return i + 2;
      }
    }
    return text.length;
  };
  while (at < text.length) {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) return out + text.slice(at);
    out += `${text.slice(at, match.index)} `;
    at = match.index + match[0].length;
    if (match[0] === "`") at = skipTemplate(at);
    else if (match[0] === "{") open.push("block");
    else if (match[0] === "}" && open.pop() === "template") at = skipTemplate(at);
  }
  return out;
}
