#!/usr/bin/env node
// The command `postern`.

import { runProgram } from "./program.ts";

// A reader that went away, as in `postern queue list | head`, is no fault.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
});
process.exitCode = await runProgram(process.argv);
