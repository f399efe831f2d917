// Clients in Node for the mixed run: `node.mjs JSON`, what `talk` takes. Prints what it returns.
import { createRequire } from "node:module";
import { WebSocket as Durable } from "../../../sdk/typescript/dist/longhaul.mjs";
import { talk } from "./talk.mjs";

const { WebSocket } = createRequire(new URL("../../../tests/e2e/package.json", import.meta.url))("ws");
globalThis.Longhaul = { WebSocket: Durable.withOptions({ WebSocket }) };
console.log(JSON.stringify(await talk(JSON.parse(process.argv[2]))));
process.exit(0);
