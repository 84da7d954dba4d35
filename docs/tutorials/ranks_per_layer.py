"""A rank for each layer, for PEFT and the trainers that are built on it: as many parameters as rank 8 everywhere.

python docs/tutorials/ranks_per_layer.py MODEL TEXTS.txt

MODEL is a folder or a hub name; TEXTS.txt has a text a line, 100 or more of the task's. The adapted model
goes into transformers' Trainer, as here, and with task_type="CAUSAL_LM" into TRL's SFTTrainer.
"""

import sys
from pathlib import Path

from peft import get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)

from layersel import select_layers

PROJECTIONS = ["query", "key", "value", "output", "gate", "up", "down"]


def main(model_path: str, texts_path: str) -> None:
    """Gives ranks, trains a few steps, and saves the adapter and what axolotl reads."""
    model = AutoModelForCausalLM.from_pretrained(model_path)
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    texts = Path(texts_path).read_text(encoding="utf-8").splitlines()
    selection = select_layers(model, texts, n=0.5, score="cka", tokenizer=tokenizer)
    ranked = selection.allocated("proportional", r=8, projections=PROJECTIONS)
    config = ranked.lora_config(r=8, projections=PROJECTIONS, task_type="CAUSAL_LM")
    print(f"layers {ranked.layers}, ranks {ranked.allocation.ranks}")
    ranked.save("ranks.json", PROJECTIONS)  # content["axolotl"] are lines of its YAML file
    adapted = get_peft_model(model, config)
    adapted.print_trainable_parameters()
    trainer = Trainer(
        model=adapted,
        args=TrainingArguments(
            "training", max_steps=3, per_device_train_batch_size=4, report_to=[], save_strategy="no"
        ),
        train_dataset=[tokenizer(text, truncation=True, max_length=256) for text in texts],
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    )
    trainer.train()
    adapted.save_pretrained("adapter")
    print("the adapter is in adapter, its places and ranks are in ranks.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
