// Print the tokens that the page's decoder gives for a graph: node tokens.mjs PACKAGES DECODER GRAPH PROMPT NUM EOS.
import { createRequire } from "node:module";

const [packages, decoder, graph, prompt, numTokens, eosTokenIds] = process.argv.slice(2);
const ort = createRequire(`${packages}/`)("onnxruntime-node");
const { Decoder } = await import(decoder);
const session = await ort.InferenceSession.create(graph);
const ids = JSON.parse(prompt);
const options = { eosTokenIds: JSON.parse(eosTokenIds), maxLength: ids.length + Number(numTokens) };
const tokens = [];
for await (const token of new Decoder(ort, session).generate(ids, options)) tokens.push(token);
console.log(JSON.stringify(tokens));
