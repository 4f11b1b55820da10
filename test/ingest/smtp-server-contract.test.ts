// Fails when the package smtp-server is not the one that src/ingest was written against. Its internals are overridden
// there, so an upgrade needs the eyes of a person: read the changelog and the difference of these files, check each
// override named at the top of session.ts, listener.ts and command-stream.ts, then put the new values here.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "tap";

const root = new URL("../../", import.meta.url);
const version = "3.21.6";
const digests = {
  "smtp-connection.js": "b7ee51b8774cabf09ce667a89743efd027eca234d23bee5e5296c2c00de0fd3a",
  "smtp-server.js": "7d526449a98692430a28bf927c49cfa1e7ea0d35e06d8c7442deb9c36dc6e2f8",
  "smtp-stream.js": "4e48daabf1b43c951e6f561940a9d141ed3f2d953f8783889586c67122c2aa18",
  "sasl.js": "a8173714ad5ddd9ba44d409b8ec95e3cddb505aa77ffaed4b975562ff68c8947",
};

test("smtp-server is pinned to the version whose internals ingest overrides, and its files are what was read", async (t) => {
  const ours = JSON.parse(await readFile(new URL("package.json", root), "utf8"));
  t.equal(ours.dependencies["smtp-server"], version, "pinned exactly");
  const theirs = JSON.parse(await readFile(new URL("node_modules/smtp-server/package.json", root), "utf8"));
  t.equal(theirs.version, version);
  for (const [file, digest] of Object.entries(digests)) {
    const source = await readFile(new URL(`node_modules/smtp-server/dist/esm/${file}`, root));
    t.equal(createHash("sha256").update(source).digest("hex"), digest, file);
  }
});
