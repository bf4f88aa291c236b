from dataclasses import replace
from pathlib import Path

import pytest

from configs.settings import LanguageModelSettings
from deployments.errors import EngineError
from deployments.language_model.guidance_check import expected_logits, probe, require_guided
from deployments.language_model.tokenizer import LMTokenizer


def test_an_engine_that_does_not_guide_is_refused_at_start(checkpoint: Path, tokenizer: LMTokenizer) -> None:
    request = probe(tokenizer)
    settings = LanguageModelSettings()
    guided = expected_logits(checkpoint, settings, request)
    require_guided([tokenizer.first_code + int(guided.argmax())], guided, request, "float32")
    unguided = expected_logits(checkpoint, settings, replace(request, unconditional_prompt=request.prompt))
    for tokens in ([tokenizer.first_code + int(unguided.argmax())], [tokenizer.end_id], []):
        with pytest.raises(EngineError, match="not active or wrong"):
            require_guided(tokens, guided, request, "float32")
