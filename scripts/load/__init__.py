"""Load on servers of OpenAI's interface: what is asked, who asks, who answers, and what becomes of it."""
