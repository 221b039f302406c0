/** How much of the model's context a conversation takes. */

const NEARLY_FULL = 0.85;

/** Show what the server counted, {count, max_model_len}; `null` shows nothing. */
export function showMeter(counted) {
  const place = document.getElementById("meter");
  place.hidden = counted === null;
  if (!counted) return;
  const { count, max_model_len: limit } = counted;
  const percent = Math.min(100, Math.max(1, (count / limit) * 100));
  place.classList.toggle("is-nearly-full", count / limit > NEARLY_FULL);
  place.querySelector(".meter-fill").style.width = `${percent}%`;
  place.querySelector(".meter-text").textContent =
    `${count.toLocaleString("en")} of ${limit.toLocaleString("en")} tokens`;
}
