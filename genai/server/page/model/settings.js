/**
 * What a conversation may set: its system prompt and how tokens are chosen. Whatever is not set is not sent, so that the
 * model's own default holds.
 */

/** Numbers that can be set, by the names that requests have for them. */
export const NUMBERS = [
  {
    name: "temperature",
    label: "Temperature",
    min: 0,
    max: 5,
    hint: "0 takes the likeliest token; more is more surprising",
  },
  {
    name: "top_p",
    label: "Top-p",
    min: 0,
    max: 1,
    hint: "Only the likeliest tokens that make up this much together",
  },
  { name: "top_k", label: "Top-k", min: 0, integer: true, hint: "Only so many of the likeliest tokens; 0 is all" },
  {
    name: "min_p",
    label: "Min-p",
    min: 0,
    max: 1,
    hint: "Only tokens at least this likely, compared with the likeliest",
  },
  {
    name: "repetition_penalty",
    label: "Repetition penalty",
    min: 0.01,
    hint: "Above 1 makes tokens less likely that are there already",
  },
  { name: "max_tokens", label: "Most tokens", min: 1, integer: true, hint: "Where an answer is cut at the latest" },
  { name: "seed", label: "Seed", min: 0, integer: true, hint: "The same seed gives the same answer again" },
];

/** Return {value} of what was typed into a number's field, `undefined` for nothing, or {error}. */
export function readNumber(field, text) {
  if (!text.trim()) return { value: undefined };
  const value = Number(text.trim().replace(",", "."));
  if (!Number.isFinite(value)) return { error: "This is not a number." };
  if (field.integer && !Number.isInteger(value)) return { error: "This must be a whole number." };
  if (value < field.min) return { error: `The least is ${field.min}.` };
  if (field.max !== undefined && value > field.max) return { error: `The most is ${field.max}.` };
  return { value };
}

/** Return {value} of a list of tools in JSON, `undefined` for nothing, or {error}. */
export function readTools(text) {
  if (!text.trim()) return { value: undefined };
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { error: `This is not JSON: ${error.message}` };
  }
  const isList = Array.isArray(value) && value.every((tool) => tool?.type === "function" && tool.function?.name);
  return isList ? { value } : { error: 'This must be a list of {"type": "function", "function": {"name": …}}.' };
}

/** Return the fields of a request that some settings stand for. */
export function requestFields(settings) {
  const fields = {};
  for (const { name } of NUMBERS) if (settings[name] !== undefined) fields[name] = settings[name];
  if (settings.thinking !== undefined) fields.chat_template_kwargs = { enable_thinking: settings.thinking };
  if (settings.tools?.length) fields.tools = settings.tools;
  return fields;
}

/** Return only what settings can be, of a value that came from elsewhere. */
export function cleanSettings(given) {
  const settings = {};
  if (typeof given?.system === "string" && given.system) settings.system = given.system;
  for (const field of NUMBERS) {
    const { value } = readNumber(field, typeof given?.[field.name] === "number" ? String(given[field.name]) : "");
    if (value !== undefined) settings[field.name] = value;
  }
  if (typeof given?.thinking === "boolean") settings.thinking = given.thinking;
  if (Array.isArray(given?.tools)) {
    const { value } = readTools(JSON.stringify(given.tools));
    if (value?.length) settings.tools = value;
  }
  return settings;
}

/** Return how many things are set. */
export function countSettings(settings) {
  return Object.values(settings).filter((value) => value !== undefined && value !== "").length;
}
