"""Load-time adaptation: whoever made a graph, what follows sees one vocabulary and no more than it has to feed.

Works on the small protobuf, before the session is made; weights stay in their external file. One file per change:

- `names`: inputs and outputs get the names that genai uses;
- `lengths`: buffers of a window's length keep the whole sequence; `seqlens_k`, `total_sequence_length` and
  `position_ids`, which a graph sums up from a mask that then is not needed any more, become plain inputs;
- `long_rope`: the choice between two tables of positions becomes a plain input;
- `logits`: how many positions reach the language-model head becomes a plain input;
- `device_outputs`: on an accelerator, logits come in the type that they were computed in, beside the greatest one's id;
- `device_positions`: and the positions whose logits are computed are indices that the device reads;
- `eight_bit_products`: where prompts and batches are computed by a graph of their own, its products are of 8 bits;
- `early_cut`: and a prompt ends there with what the last layer's attention keeps;
- `plain_attention`: and both graphs attend by the kernel that is faster, if runs are short;
- `adapters`: products have places for what low-rank adapters add;
- `fused_cache`: keys and values stacked in front of the batch are taken apart;
- `stages`: several files that run one after another become one graph;
- `hidden_states`: for vectors of texts, and where a head has a graph of its own, what it reads takes the place of the logits;
- `layers`: where layers are compared, what is behind each of them becomes an output;
- `weights`: external weights behind links are called what they really are.

`key_rotations` changes nothing: it says where keys are turned by their positions.
"""

from __future__ import annotations

from genai.runtime.adapt.adaptation import GraphFacts, adapt_model
from genai.runtime.adapt.adapters import AdaptedProduct, add_adapters, add_at_all_positions
from genai.runtime.adapt.device_outputs import narrow_outputs
from genai.runtime.adapt.device_positions import take_positions
from genai.runtime.adapt.early_cut import cut_early
from genai.runtime.adapt.eight_bit_products import WEIGHTS_MIDDLE, EightBitMatrix, to_eight_bit_products
from genai.runtime.adapt.files import read_model
from genai.runtime.adapt.hidden_states import HIDDEN_STATES, give_hidden_states, head_of
from genai.runtime.adapt.key_rotations import KeyRotation, NotMovableError, find_key_rotations
from genai.runtime.adapt.layers import promote_layers
from genai.runtime.adapt.plain_attention import attend_plainly
from genai.runtime.adapt.stages import join_stages
from genai.runtime.adapt.weights import external_locations, locate_weights, read_values

__all__ = [
    "HIDDEN_STATES",
    "WEIGHTS_MIDDLE",
    "AdaptedProduct",
    "EightBitMatrix",
    "GraphFacts",
    "KeyRotation",
    "NotMovableError",
    "adapt_model",
    "add_adapters",
    "add_at_all_positions",
    "attend_plainly",
    "cut_early",
    "external_locations",
    "find_key_rotations",
    "give_hidden_states",
    "head_of",
    "join_stages",
    "locate_weights",
    "narrow_outputs",
    "promote_layers",
    "read_model",
    "read_values",
    "take_positions",
    "to_eight_bit_products",
]
