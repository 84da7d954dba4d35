"""Tiny real models, 3 layers of 32 dimensions built from their configurations, and a tiny real tokenizer."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import BertTokenizerFast, PreTrainedModel, PreTrainedTokenizerFast

from layersel.data.reviews.demo import Demo
from layersel.data.tokens import TokenIds, collate

N_LAYERS = 3
WIDTH = 32
INNER = 48
HEADS = 4
VOCABULARY = 400
POSITIONS = 64

_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": POSITIONS,
}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
_DECODER = _SIZES | _SPECIAL | {"num_key_value_heads": 2, "head_dim": 8}


def bert(**options: object) -> hf.BertConfig:
    """Configuration of a tiny BERT."""
    return hf.BertConfig(**_SIZES | options)


def llama(**options: object) -> hf.LlamaConfig:
    """Configuration of a tiny Llama with grouped heads."""
    return hf.LlamaConfig(**_DECODER | options)


def gpt2(**options: object) -> hf.GPT2Config:
    """Configuration of a tiny GPT-2."""
    sizes = {"n_embd": WIDTH, "n_layer": N_LAYERS, "n_head": HEADS, "n_inner": INNER, "n_positions": POSITIONS}
    return hf.GPT2Config(**{"vocab_size": VOCABULARY, "bos_token_id": 2, "eos_token_id": 3} | sizes | options)


def deberta(**options: object) -> hf.DebertaV2Config:
    """Configuration of a tiny DeBERTa as version 3 has it: relative positions only, shared with content."""
    relative = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16}
    shared = {"share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False}
    return hf.DebertaV2Config(**_SIZES | relative | shared | options)


def modernbert(**options: object) -> hf.ModernBertConfig:
    """Configuration of a tiny ModernBERT with global and local layers; tests have texts beyond its window."""
    special = _SPECIAL | {"cls_token_id": 2, "sep_token_id": 3}
    return hf.ModernBertConfig(**_SIZES | special | {"local_attention": 8, "global_attn_every_n_layers": 2} | options)


def distilbert() -> hf.DistilBertConfig:
    """Configuration of a tiny DistilBERT."""
    sizes = {"dim": WIDTH, "hidden_dim": INNER, "n_layers": N_LAYERS, "n_heads": HEADS}
    return hf.DistilBertConfig(vocab_size=VOCABULARY, max_position_embeddings=POSITIONS, **sizes)


def t5() -> hf.T5Config:
    """Configuration of a tiny encoder-decoder."""
    return hf.T5Config(vocab_size=VOCABULARY, d_model=WIDTH, d_kv=8, d_ff=INNER, num_layers=N_LAYERS, num_heads=HEADS)


Make = Callable[[], PreTrainedModel]

ENCODERS: dict[str, Make] = {
    "bert": lambda: hf.BertModel(bert()),
    "roberta": lambda: hf.RobertaModel(hf.RobertaConfig(**_SIZES, pad_token_id=1)),
    "mpnet": lambda: hf.MPNetModel(hf.MPNetConfig(**_SIZES)),
    "distilbert": lambda: hf.DistilBertModel(distilbert()),
    "deberta": lambda: hf.DebertaV2Model(deberta()),
    "deberta_conv": lambda: hf.DebertaV2Model(deberta(conv_kernel_size=3, conv_act="gelu")),
    "modernbert": lambda: hf.ModernBertModel(modernbert()),
}
DECODERS: dict[str, Make] = {
    "gpt2": lambda: hf.GPT2Model(gpt2()),
    "llama": lambda: hf.LlamaModel(llama()),
    "mistral": lambda: hf.MistralModel(hf.MistralConfig(**_DECODER)),
    "qwen2": lambda: hf.Qwen2Model(hf.Qwen2Config(**_DECODER)),
    "qwen3": lambda: hf.Qwen3Model(hf.Qwen3Config(**_DECODER)),
    "gemma": lambda: hf.GemmaModel(hf.GemmaConfig(**_DECODER)),
    "gemma3": lambda: hf.Gemma3TextModel(hf.Gemma3TextConfig(**_DECODER, sliding_window=8)),
    "phi3": lambda: hf.Phi3Model(hf.Phi3Config(**_DECODER)),
}
WITH_HEADS: dict[str, Make] = {
    "bert_classifier": lambda: hf.BertForSequenceClassification(bert(num_labels=2)),
    "llama_causal": lambda: hf.LlamaForCausalLM(llama()),
}
ARCHITECTURES = ENCODERS | DECODERS | WITH_HEADS
LANGUAGE_MODELS: dict[str, Make] = {
    "gpt2": lambda: hf.GPT2LMHeadModel(gpt2()),
    "llama": lambda: hf.LlamaForCausalLM(llama()),
    "llama_tied": lambda: hf.LlamaForCausalLM(llama(tie_word_embeddings=True)),
    "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**_DECODER)),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**_DECODER)),
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**_DECODER)),
    "gemma": lambda: hf.GemmaForCausalLM(hf.GemmaConfig(**_DECODER)),
    "gemma2": lambda: hf.Gemma2ForCausalLM(hf.Gemma2Config(**_DECODER, sliding_window=32, final_logit_softcapping=3.0)),
    "gemma3": lambda: hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**_DECODER, sliding_window=8)),
    "phi3": lambda: hf.Phi3ForCausalLM(hf.Phi3Config(**_DECODER)),
    "gpt_neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**_SIZES | _SPECIAL)),
    "granite": lambda: hf.GraniteForCausalLM(hf.GraniteConfig(**_DECODER, logits_scaling=4.0)),
}
"""Decoders with their heads: tied or not, capped (Gemma 2) and scaled (Granite)."""


def bart(**options: object) -> hf.BartConfig:
    """Configuration of a tiny BART, for the whole or a half of it."""
    halves = {"layers": N_LAYERS, "attention_heads": HEADS, "ffn_dim": INNER}
    sizes = {f"{half}_{name}": size for half in ("encoder", "decoder") for name, size in halves.items()}
    return hf.BartConfig(**{"vocab_size": VOCABULARY, "d_model": WIDTH} | sizes | options)


WITH_CROSS_ATTENTION: dict[str, Make] = {
    "bert": lambda: hf.BertModel(bert(is_decoder=True, add_cross_attention=True)),
    "gpt2": lambda: hf.GPT2Model(gpt2(add_cross_attention=True)),
    "bart": lambda: hf.BartForCausalLM(bart(is_encoder_decoder=False)),
    "t5": lambda: hf.T5ForConditionalGeneration(t5()).get_decoder(),
}
"""Decoders whose layers have a second attention, to what an encoder gives."""


def tiny(name: str, seed: int = 0) -> PreTrainedModel:
    """A fresh model of that architecture, in evaluation mode, with weights drawn from `seed`.

    The weights are drawn larger than a new model's, so that its layers differ and its vectors spread.
    """
    return seeded(ARCHITECTURES[name], seed)


def seeded(make: Make, seed: int = 0) -> PreTrainedModel:
    """What `make` builds, with weights drawn from `seed` and the global random state as before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def fused(model: PreTrainedModel) -> bool:
    """Whether one module computes query, key and value."""
    return model.config.model_type in {"modernbert", "gpt2", "phi3"}


def hooks_and_wrappers(model: nn.Module) -> list[tuple[str, int, bool]]:
    """What bypasses and observers leave behind if they are not removed: hooks and instances' own `forward`."""
    return [
        (name, len(module._forward_hooks) + len(module._forward_pre_hooks), "forward" in vars(module))
        for name, module in model.named_modules()
    ]


LENGTHS = (7, 12, 3, 30, 12, 5)
"""The numbers of tokens of some texts."""
STATE_BYTES = sum(LENGTHS) * WIDTH * 4
"""The bytes of the states of all their tokens at one layer."""


def ragged(lengths: Sequence[int] = (7, 12, 3, 30), seed: int = 0, cls: int | None = None) -> list[TokenIds]:
    """Random texts of these lengths as token ids; with `cls`, all begin with that token."""
    generator = torch.Generator().manual_seed(seed)
    texts = [torch.randint(5, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
    return texts if cls is None else [[cls, *text[1:]] for text in texts]


def padded(model: PreTrainedModel, texts: Sequence[TokenIds]) -> dict[str, Tensor]:
    """The texts as one batch, padded on the right with the model's own padding token."""
    return collate(texts, model.config.pad_token_id or 0)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of the demo review: its characters and its most frequent words."""
    records = Demo().load().records
    text = " ".join(f"{record.title} {record.abstract}" for record in records).lower()
    words = Counter(re.findall(r"[a-z]{2,}", text))
    characters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,;:-()/%", *characters, *(f"##{c}" for c in characters)]
    ordered = sorted(words, key=lambda word: (-words[word], word))
    vocabulary = [*pieces, *ordered[: VOCABULARY - len(pieces)]]
    return BertTokenizerFast(
        vocab={piece: index for index, piece in enumerate(vocabulary)}, do_lower_case=True, model_max_length=512
    )


def tokenizer_without_cls() -> PreTrainedTokenizerFast:
    """The same words for a decoder, which has neither [CLS] nor [SEP]."""
    base = tiny_tokenizer().backend_tokenizer
    base.post_processor = None
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=base, **special)


CHAT = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
"""A template of conversations like that of ChatML."""


def decoder_tokenizer(bos: bool = False, eos: bool = True, template: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes and of pairs learnt from the demo review, so that every text is read back as it was.

    Args:
        bos: Whether it puts its first token before a text, which only then is a token of its own.
        eos: Whether it has a token that ends a text.
        template: The template of conversations.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<unk>", "<s>", "<|end|>", "<|start|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([record.abstract for record in Demo().load().records[:40]], trainer)
    own = {"pad_token": "<pad>"} | ({"eos_token": "<|end|>"} if eos else {}) | ({"bos_token": "<s>"} if bos else {})
    if bos:
        tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **own)
    made.chat_template = template
    return made


def metaspace_tokenizer(template: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer like SentencePiece's, as Llama 2 and Mistral have it: a word's token holds the space before it.

    What stands at the beginning of a text has one before it too, what stands behind a special token has none.
    """
    tokenizer = Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=2 * VOCABULARY, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([record.abstract for record in Demo().load().records[:40]], trainer)
    learnt = json.loads(tokenizer.to_str())["model"]
    made = hf.LlamaTokenizer(vocab=learnt["vocab"], merges=[tuple(pair) for pair in learnt["merges"]])
    made.chat_template = template
    return made
