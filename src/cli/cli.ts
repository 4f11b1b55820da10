#!/usr/bin/env node
// The command `postern`.

import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

// Types are stripped and code is compiled once, not at each start of each thread: that is half the start-up time and 40 MB
// less memory. Beside the packages, where only who may change the code can write; where nobody can, it does without.
const cacheFolder = fileURLToPath(new URL("../../node_modules/.cache/postern", import.meta.url));
process.env.NODE_COMPILE_CACHE ??= cacheFolder;
enableCompileCache(process.env.NODE_COMPILE_CACHE);
const { runProgram } = await import("./program.ts");

// A reader that went away, as in `postern queue list | head`, is no fault.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
});
process.exitCode = await runProgram(process.argv);
