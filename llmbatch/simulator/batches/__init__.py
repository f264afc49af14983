"""OpenAI's Files and Batches as a server has them: uploads, states, delays, partial ends, and what goes wrong."""
