"""Renders a prompt of the language model as one string."""

from deployments.language_model.text.prompts import Prompt, Token


def prompt_text(prompt: Prompt) -> str:
    """Return the prompt as the chat template would render it."""
    return "".join(part.name if isinstance(part, Token) else part for part in prompt)
