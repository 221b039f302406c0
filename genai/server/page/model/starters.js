/** What might be asked of a model, for who has not yet. */

const OF_ANY = [
  "Explain how a key-value cache makes decoding faster",
  "Write a Python function that merges two sorted lists, with a test",
  "Compare three ways to sort a list in a table",
  "Tell a story of five sentences about a lighthouse",
];
/** The demo model, which comes with genai, was trained on questions about it and knows little else. */
const OF_DEMO = ["What is genai?", "What is a KV cache?", "How do I export a model?", "What is a token?"];

/** Return questions that a model can answer, by its name. */
export function startersFor(model) {
  return model === "demo" ? OF_DEMO : OF_ANY;
}
