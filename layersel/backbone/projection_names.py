"""The standard names of the projections of a layer, and how architectures call the modules that compute them."""

# Standard name of a projection -> how the modules that compute it are called, over the architectures. A fused
# module computes several projections at once and stands under each of them.
FUSED_QKV = r"Wqkv|c_attn|query_key_value|qkv_proj|self\.in_proj"
PROJECTIONS = {
    "query": rf"query|q|q_proj|q_lin|query_proj|{FUSED_QKV}",
    "key": rf"key|k|k_proj|k_lin|key_proj|{FUSED_QKV}",
    "value": rf"value|v|v_proj|v_lin|value_proj|{FUSED_QKV}",
    "output": r"attention\.output\.dense|attn\.o|o_proj|out_lin|(self_)?att(n|ention)\.(out_proj|c_proj|Wo|dense)",
    "gate": r"gate_proj|gate_up_proj|mlp\.Wi",
    "up": r"intermediate\.dense|lin1|up_proj|gate_up_proj|Wi|c_fc|fc1|dense_h_to_4h",
    "down": r"(?<!attention\.)output\.dense|lin2|down_proj|mlp\.(Wo|c_proj)|fc2|dense_4h_to_h",
}
