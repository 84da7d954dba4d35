"""Which layers of a decoder need an adapter for my data? Three scores, how far they agree, and the choice for PEFT.

python docs/tutorials/layers_for_my_data.py MODEL TEXTS.txt

MODEL is a folder or a hub name; TEXTS.txt has a text a line, 100 or more of the task's. A prompt and its
answer belong into one text, as a score sees the state of its last token.
"""

import sys
from itertools import combinations
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from layersel import select_layers
from layersel.selection.agreement import kendall

SCORES = ("cka", "cosine", "spectrum")


def main(model_path: str, texts_path: str) -> None:
    """Prints the scores and the choices, and writes that of CKA."""
    model = AutoModelForCausalLM.from_pretrained(model_path)
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    texts = Path(texts_path).read_text(encoding="utf-8").splitlines()
    chosen = {name: select_layers(model, texts, n=0.5, score=name, tokenizer=tokenizer) for name in SCORES}
    for name, selection in chosen.items():
        print(f"{name}: layers {selection.layers}, scores {[round(score, 3) for score in selection.scores]}")
        if selection.stability is not None:
            print(f"  chosen in resamples of the texts: {selection.stability.chosen_share}")
    for one, other in combinations(SCORES, 2):
        common = set(chosen[one].layers) & set(chosen[other].layers)
        tau = kendall(chosen[one].scores, chosen[other].scores)
        print(f"{one} and {other}: Kendall's tau {tau:.2f}, {len(common)} layers in common")
    chosen["cka"].save("selection.json")  # what PEFT, axolotl and LLaMA-Factory take stands in it
    print("the choice of cka is in selection.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
