/** How much of the model's context a conversation takes. */

const NEARLY_FULL = 0.85;

/** Show what the server counted, {count, max_model_len}; `null` shows nothing. */
export function showMeter(counted) {
  const place = document.getElementById("meter");
  place.hidden = counted === null;
  if (!counted) return;
  const { count, max_model_len: limit } = counted;
  const share = Math.min(1, count / limit);
  place.classList.toggle("is-nearly-full", share > NEARLY_FULL);
  place.querySelector(".meter-fill").style.width = `${Math.max(1, share * 100)}%`;
  place.querySelector(".meter-text").textContent = `${count.toLocaleString("en")} of ${limit.toLocaleString("en")} tokens`;
}
