// Answer a question in Node: `node answer.mjs SITE "What is a KV cache?"`, where `genai export --web SITE` wrote SITE.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import * as ort from "onnxruntime-node";

const [site, question] = [resolve(process.argv[2] ?? ""), process.argv[3]];
if (question === undefined || !existsSync(join(site, "settings.json"))) {
  console.error('usage: node answer.mjs SITE "What is a KV cache?", where genai export --web SITE wrote SITE');
  process.exit(1);
}
const read = (...names) => readFile(join(site, ...names), "utf8");
const { Decoder } = await import(pathToFileURL(join(site, "decoder.js")));
const settings = JSON.parse(await read("settings.json"));
const config = JSON.parse(await read("model", "tokenizer_config.json"));
const tokenizer = new Tokenizer(JSON.parse(await read("model", "tokenizer.json")), config);
const template = new Template(await read("model", "chat_template.jinja"));

const text = template.render({ messages: [{ role: "user", content: question }], add_generation_prompt: true });
const prompt = tokenizer.encode(text, { add_special_tokens: false }).ids;
const session = await ort.InferenceSession.create(join(site, "model", settings.graph));
const decoder = new Decoder(ort, session);
const maxLength = Math.min(settings.contextLength, prompt.length + settings.maxNewTokens);
const tokens = [];
for await (const token of decoder.generate(prompt, { eosTokenIds: settings.eosTokenIds, maxLength })) tokens.push(token);
console.log(tokenizer.decode(tokens, { skip_special_tokens: true }));
