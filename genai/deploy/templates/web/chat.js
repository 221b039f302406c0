// The page: loads the model, writes the conversation through its chat template, and shows answers as they come.

import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import { Decoder } from "./decoder.js";

const settings = await (await fetch("settings.json")).json();
const [status, list, form, question, send, stop, clear] = [
  ...["status", "messages", "form", "question", "send", "stop", "clear"].map((id) => document.getElementById(id)),
];
const messages = [];
let isStopped = false;

async function read(path) {
  const answer = await fetch(`model/${path}`);
  if (!answer.ok) throw new Error(`model/${path}: ${answer.status} ${answer.statusText}`);
  return answer;
}

async function readText(name) {
  const folder = settings.tokenizerFolder ? `${settings.tokenizerFolder}/` : "";
  return (await read(folder + name)).text();
}

// Return a file's bytes, and say how much of it is here.
async function readBytes(path) {
  const answer = await read(path);
  const total = Number(answer.headers.get("content-length"));
  const chunks = [];
  let received = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    received += value.length;
    const megabytes = (received / 1e6).toFixed(0);
    status.textContent = `Loading ${path}: ${megabytes} MB${total ? ` of ${(total / 1e6).toFixed(0)} MB` : ""}`;
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

// Open the graph on a provider: "webgpu", where the past stays on the device, or "wasm".
async function openDecoder(provider, graph, externalData) {
  const ort = await import(`onnxruntime-web/${provider}`);
  const options = { executionProviders: [provider], externalData };
  if (provider === "webgpu") options.preferredOutputLocation = settings.states.reduce(
    (places, name) => ({ ...places, [name]: "gpu-buffer" }), {},
  );
  status.textContent = "Starting …";
  return new Decoder(ort, await ort.InferenceSession.create(graph, options));
}

// Return the provider that ?provider= names; else WebGPU, where it can run the model, and WebAssembly after it.
async function chooseProviders() {
  const wanted = new URLSearchParams(location.search).get("provider");
  const adapter = await navigator.gpu?.requestAdapter();
  const lacksFloat16 = settings.hasFloat16 && adapter && !adapter.features.has("shader-f16");
  if (wanted === "webgpu" && lacksFloat16) throw new Error("This GPU has no shader-f16, which the model needs");
  if (wanted) return [wanted];
  return adapter && !lacksFloat16 ? ["webgpu", "wasm"] : ["wasm"];
}

async function load() {
  const providers = await chooseProviders();
  const [tokenizer, config, template] = await Promise.all(
    ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"].map(readText),
  );
  const graph = await readBytes(settings.graph);
  const externalData = [];
  for (const path of settings.dataFiles) externalData.push({ path, data: await readBytes(path) });
  for (const provider of providers) {
    try {
      const decoder = await openDecoder(provider, graph, externalData);
      status.textContent = `Ready, on ${provider}`;
      return {
        decoder,
        tokenizer: new Tokenizer(JSON.parse(tokenizer), JSON.parse(config)),
        config: JSON.parse(config),
        template: new Template(template),
      };
    } catch (error) {
      if (provider === providers.at(-1)) throw error;
      console.warn(`${provider}: ${error.message}`);
    }
  }
}

// Return the conversation's tokens, ready for an answer.
function encode({ tokenizer, template, config }) {
  const special = (token) => token?.content ?? token ?? "";
  const text = template.render({
    messages,
    add_generation_prompt: true,
    bos_token: special(config.bos_token),
    eos_token: special(config.eos_token),
  });
  return tokenizer.encode(text, { add_special_tokens: false }).ids;
}

// Answer the last message; show the text as soon as it can no longer change.
async function answer(model, shown) {
  const prompt = encode(model);
  const tokens = [];
  let text = "";
  const begun = performance.now();
  const maxLength = Math.min(settings.contextLength, prompt.length + settings.maxNewTokens);
  isStopped = false;
  for await (const token of model.decoder.generate(prompt, { eosTokenIds: settings.eosTokenIds, maxLength })) {
    tokens.push(token);
    text = model.tokenizer.decode(tokens, { skip_special_tokens: true });
    if (!text.endsWith("\ufffd")) shown.textContent = text; // a character of several tokens is not whole yet
    list.scrollTop = list.scrollHeight;
    if (isStopped) break;
    await new Promise((resolve) => setTimeout(resolve)); // lets the page draw
  }
  shown.textContent = text;
  const rate = (tokens.length / (performance.now() - begun)) * 1000;
  status.textContent = `${tokens.length} tokens, ${rate.toFixed(1)} a second`;
  return text;
}

function show(role, text) {
  const shown = document.createElement("div");
  shown.className = `message ${role}`;
  shown.textContent = text;
  list.append(shown);
  return shown;
}

// While an answer is made, only "Stop" can be pressed.
function setBusy(isBusy) {
  send.disabled = clear.disabled = isBusy;
  stop.hidden = !isBusy;
  list.setAttribute("aria-busy", isBusy);
}

async function submit(model) {
  const text = question.value.trim();
  if (!text || send.disabled) return;
  question.value = "";
  setBusy(true);
  show("user", text);
  messages.push({ role: "user", content: text });
  const shown = show("assistant", "");
  try {
    messages.push({ role: "assistant", content: await answer(model, shown) });
  } catch (error) {
    messages.pop();
    model.decoder.reset();
    shown.classList.add("error");
    shown.textContent = error.message;
  } finally {
    setBusy(false);
    question.focus();
  }
}

try {
  const model = await load();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(model);
  });
  question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit(model);
  });
  stop.addEventListener("click", () => (isStopped = true));
  clear.addEventListener("click", () => {
    messages.length = 0;
    list.replaceChildren();
  });
  setBusy(false);
} catch (error) {
  status.className = "error";
  status.textContent = error.message;
}
