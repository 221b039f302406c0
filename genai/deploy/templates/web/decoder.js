// Runs a model folder's graph with ONNX Runtime, in a browser or in Node: greedy decoding with a KV cache.
// It knows tensors and tokens, and nothing of text or pages.

const ARRAYS = { float32: Float32Array, float16: Uint16Array, int8: Int8Array, uint8: Uint8Array };
const PAST = "past_key_values.";

export class Decoder {
  #ort;
  #session;
  #past = {};
  #tokens = []; // what the past holds

  // ort: the module onnxruntime-web or onnxruntime-node; session: an InferenceSession of the folder's graph.
  constructor(ort, session) {
    this.#ort = ort;
    this.#session = session;
    this.reset();
  }

  // Begin a new sequence: an axis of positions has length 0, a state of fixed size is zeros.
  reset() {
    this.#replacePast(
      Object.fromEntries(
        this.#session.inputMetadata
          .filter((input) => input.name.startsWith(PAST))
          .map(({ name, type, shape }) => {
            const axes = shape.map((axis) => (typeof axis === "number" ? axis : axis === "batch_size" ? 1 : 0));
            const size = axes.reduce((product, axis) => product * axis, 1);
            return [name, new this.#ort.Tensor(type, new ARRAYS[type](size), axes)];
          }),
      ),
    );
    this.#tokens = [];
  }

  // Yield the most likely token at each step, until one of eosTokenIds or maxLength tokens in all. A prompt that goes
  // on from what was run before, as the next message of a conversation does, computes only what is new.
  async *generate(prompt, { eosTokenIds, maxLength }) {
    const isContinued = this.#tokens.length < prompt.length && this.#tokens.every((token, i) => token === prompt[i]);
    if (!isContinued) this.reset();
    let step = prompt.slice(this.#tokens.length);
    while (this.#tokens.length + step.length < maxLength) {
      const token = await this.#run(step);
      if (eosTokenIds.includes(token)) return;
      yield token;
      step = [token];
    }
  }

  // Run tokens on the past; return the most likely next one.
  async #run(tokens) {
    const length = this.#tokens.length + tokens.length;
    const feeds = {
      input_ids: this.#integers(tokens),
      attention_mask: this.#integers(new Array(length).fill(1)),
      ...this.#past,
    };
    const outputs = await this.#session.run(feeds);
    const past = {};
    for (const name of Object.keys(this.#past)) past[name] = outputs[name.replace(PAST, "present.")];
    this.#replacePast(past);
    this.#tokens.push(...tokens);
    return mostLikely(outputs.logits);
  }

  #integers(values) {
    return new this.#ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
  }

  #replacePast(past) {
    for (const tensor of Object.values(this.#past)) tensor.dispose();
    this.#past = past;
  }
}

// Return the index of the largest of the last position's logits [1, positions, vocab_size].
function mostLikely(logits) {
  const size = logits.dims.at(-1);
  const values = logits.data.subarray(logits.data.length - size);
  const isBits = logits.type === "float16" && values instanceof Uint16Array; // of a sign and a magnitude
  const order = isBits ? (bits) => (bits & 0x8000 ? -(bits & 0x7fff) : bits) : (value) => value;
  let best = 0;
  for (let i = 1; i < size; i++) if (order(values[i]) > order(values[best])) best = i;
  return best;
}
