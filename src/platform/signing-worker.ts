// The module that a signing thread runs.

import { workerData } from "node:worker_threads";
import { openContentReader } from "../spool/content-reader.ts";
import { batchSigner, type SigningThreadData } from "./signing-batch.ts";

export default batchSigner(workerData as SigningThreadData, openContentReader);
