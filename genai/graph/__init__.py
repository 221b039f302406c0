"""The graph contract: what a decoder's graph promises, as data.

Export writes graphs that keep it, passes and adaptation bring other tools' graphs to it, and the runtime and evaluation
rely on it; they meet here and nowhere else. Axes: B rows, S new tokens, P positions before the step, T after it.

Inputs: `input_ids` int64 [B, S], `attention_mask` int64 [B, T], perhaps `position_ids` int64 [B, S], and per layer `i`
and state `past_key_values.{i}.key` and `.value` [B, heads, P, head_dim], `.conv_state` [B, channels, width - 1] or
`.recurrent_state` [B, heads, key_dim, value_dim]. `num_logits_to_keep` int64 [1] says how many of the last positions
reach the language-model head. It is an initializer that a caller may override, 1 by default.

Outputs: `logits` float32 [B, positions kept, vocab_size], and for every past a `present.{i}.*`. Where attention is
GroupQueryAttention, key and value of past and present are one buffer each, whose axis of positions is its capacity.

Derived values: a row's length is the sum of its row of the mask. `seqlens_k` int32 [B], that length minus 1;
`total_sequence_length` int32 [], the longest row's; and `position_ids`, where the graph derives them, keep these names.
Nothing else hangs on the nodes that derive them, so that the runtime can feed the values instead of a mask.

- `names`: inputs, outputs and derived values, and the states of a layer;
- `axes`: what the axes are called, and the declared shapes;
- `operators`: the operators that ONNX Runtime adds to ONNX, with their operands by name;
- `opset`: the versions of everything, pinned.

It holds names and numbers only, and knows neither onnx nor ONNX Runtime.
"""
