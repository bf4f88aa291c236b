"""Why adapters of the language model are refused (docs/adapters.md), shown on the vLLM that is pinned.

When this fails after an update of vLLM, the reason has gone and the decision can be made anew.
"""

import pytest
import torch

pytestmark = pytest.mark.slow


def test_on_a_cpu_vllm_gives_a_row_without_an_adapter_the_adapter_of_the_last_slot() -> None:
    from vllm.lora.ops.torch_ops import bgmv_expand

    without_adapter = -1  # as vLLM's `convert_mapping` writes it
    slots = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])  # [slots, out, rank]
    output = torch.zeros(2, 2)
    bgmv_expand(torch.ones(2, 1), slots, output, torch.tensor([0, without_adapter]))
    assert output.tolist() == [[1.0, 2.0], [3.0, 4.0]]
