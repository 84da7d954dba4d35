"""Which options of different groups fit together: every such rule, by name."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from layersel.backbone.vector_layers import counted_from_first
from layersel.cell.steps import MERGE, PRUNE, QUANTISE, STEPS, TRAIN
from layersel.selection.rank_rule import ScoredRanks
from layersel.selection.score import WARM_UP, Measure, uncounted

if TYPE_CHECKING:
    from layersel.cell.options import Cell

Rule = Callable[["Cell"], str | None]
RULES: dict[str, Rule] = {}
"""The rules that options alone decide."""
MACHINE_RULES: dict[str, Rule] = {}
"""The rules that depend on the machine too."""


def validate(cell: "Cell") -> dict[str, str]:
    """Returns what keeps a cell from running: the message of each broken rule by the rule's name; empty if it can run.

    Options that are wrong by themselves are their own group's matter (`problems`); whether the data and the model are
    there, and have enough records and layers, shows when they are read.
    """
    order = order_is_one(cell)
    if order is not None:
        return {order_is_one.__name__: order}  # the others look at the order
    return _broken(cell, RULES)


def validate_machine(cell: "Cell") -> dict[str, str]:
    """Returns what keeps a cell from running on this machine, as `validate`."""
    return _broken(cell, MACHINE_RULES)


def _broken(cell: "Cell", rules: dict[str, Rule]) -> dict[str, str]:
    messages = {name: rule(cell) for name, rule in rules.items()}
    return {name: message for name, message in messages.items() if message is not None}


def _rule(function: Rule) -> Rule:
    RULES[function.__name__] = function
    return function


def _machine_rule(function: Rule) -> Rule:
    MACHINE_RULES[function.__name__] = function
    return function


def _first(cell: "Cell", earlier: str, later: str) -> bool:
    """Returns whether both steps happen, in this order."""
    steps = cell.steps
    return earlier in steps and later in steps and steps.index(earlier) < steps.index(later)


def _beside_weights(cell: "Cell") -> bool:
    """Returns whether the step train leaves modules beside the model's own weights."""
    return cell.merging.merges or _trains_modules(cell)


def _trains_modules(cell: "Cell") -> bool:
    return cell.adapter.keeps_modules and not cell.selection.chooses_none


@_rule
def order_is_one(cell: "Cell") -> str | None:
    """Known steps, each at most once, training among them."""
    order = cell.order
    if TRAIN in order and set(order) <= set(STEPS) and len(set(order)) == len(order):
        return None
    return f"order: expected each of {', '.join(STEPS)} at most once, with train, but got {', '.join(order) or 'none'}"


@_rule
def order_has_every_step(cell: "Cell") -> str | None:
    """A group that asks for a step needs it in the order."""
    if cell.pruning.prunes and PRUNE not in cell.order:
        return f"order: pruning={cell.pruning.name} needs the step prune; add it, or use pruning=none"
    if cell.precision.quantises and QUANTISE not in cell.order:
        return f"order: precision.infer={cell.precision.infer} needs the step quantise; add it, or use infer=fp32"
    return None


@_rule
def merge_follows_train(cell: "Cell") -> str | None:
    """Only a trained adapter can be merged into the weights."""
    if not _first(cell, MERGE, TRAIN):
        return None
    return "order: merge stands before train, but only a trained adapter can be merged into the weights"


@_rule
def merge_precedes_quantise(cell: "Cell") -> str | None:
    """An adapter merged into quantised weights takes them off their grid."""
    if not _first(cell, QUANTISE, MERGE):
        return None
    return "order: quantise stands before merge, which would take the weights off their grid; merge first"


@_rule
def integer_kernels_come_last(cell: "Cell") -> str | None:
    """Int8 modules have no gradients and no floating-point weights to prune."""
    if cell.precision.infer != "int8" or not cell.precision.quantises:
        return None
    if not (_first(cell, QUANTISE, TRAIN) or _first(cell, QUANTISE, PRUNE)):
        return None
    return (
        "order: precision.infer=int8 runs integer kernels, which cannot be trained or pruned; "
        "let quantise be last, or use precision=int8_weight"
    )


@_rule
def integer_kernels_need_merged_weights(cell: "Cell") -> str | None:
    """Int8 replaces the modules that an adapter stands in."""
    if cell.precision.infer != "int8" or MERGE in cell.steps or not _beside_weights(cell):
        return None
    if not _first(cell, TRAIN, QUANTISE):
        return None
    return "order: precision.infer=int8 needs the adapter merged; let merge stand between train and quantise"


@_machine_rule
def integer_kernels_need_cpu(cell: "Cell") -> str | None:
    """They are PyTorch's for the CPU."""
    if cell.precision.infer != "int8" or cell.trainer.on_cpu:
        return None
    return "precision.infer: int8 runs on the CPU only; use trainer=cpu, or fp16 on the GPU"


@_rule
def compressed_base_stays(cell: "Cell") -> str | None:
    """What trains or replaces the pretrained weights themselves would undo their pruning or quantisation."""
    compressed = _first(cell, PRUNE, TRAIN) and not cell.pruning.structured
    if not cell.standing.moves_base or not (compressed or _first(cell, QUANTISE, TRAIN)):
        return None
    return (
        f"order: adapter={cell.adapter.name} changes the pretrained weights, which would undo what prune or quantise "
        "did before; let train be first, or use adapter=lora"
    )


@_rule
def moved_base_is_merged(cell: "Cell") -> str | None:
    """What such an adapter saves is relative to the pretrained weights, so it cannot stand beside compressed ones."""
    if not cell.standing.moves_base or MERGE in cell.steps:
        return None
    if not (_first(cell, TRAIN, PRUNE) or _first(cell, TRAIN, QUANTISE)):
        return None
    return (
        f"order: adapter={cell.adapter.name} changes the pretrained weights, so it cannot stand beside compressed "
        "ones; let merge follow train"
    )


@_rule
def dropped_layers_carry_no_adapter(cell: "Cell") -> str | None:
    """The adapter's files name its layers by number, which shift when layers are dropped."""
    if not cell.pruning.structured or not _beside_weights(cell) or not _first(cell, TRAIN, PRUNE):
        return None
    if _first(cell, MERGE, PRUNE):
        return None
    return "order: pruning=layers cannot drop layers under an adapter; let prune be first, or merge before it"


@_rule
def pruning_sees_inputs(cell: "Cell") -> str | None:
    """Pruning by inputs sees none below an adapter that adds its change to the weights in a pass of its own."""
    if not (cell.standing.bypasses_modules and cell.pruning.watches_inputs) or cell.selection.chooses_none:
        return None
    if not _first(cell, TRAIN, PRUNE) or _first(cell, MERGE, PRUNE):
        return None
    return (
        f"order: pruning={cell.pruning.name} cannot calibrate below adapter={cell.standing.name}; let merge stand "
        "before prune"
    )


@_rule
def nf4_base_is_compressed(cell: "Cell") -> str | None:
    """The nf4 base of QLoRA can be neither merged into, nor pruned, nor quantised again."""
    if not cell.standing.quantised_base or not (cell.pruning.prunes or cell.precision.quantises):
        return None
    return (
        f"adapter={cell.adapter.name}: its base is quantised to nf4 already; use pruning=none and "
        "precision=fp32 or bf16, or adapter=lora"
    )


@_rule
def adapter_takes_ranks(cell: "Cell") -> str | None:
    """Only modules with factors of their own can have ranks of their own, and their budget is that of one rank."""
    return cell.adapter.ranks_problem(cell.ranks)


@_rule
def ranks_follow_scores(cell: "Cell") -> str | None:
    """A control orders the layers, and says nothing of how much one is worth."""
    score = cell.selection
    return cell.ranks.score_problem(score.name, score.measures, score.chooses_none)


@_rule
def parameters_are_counted(cell: "Cell") -> str | None:
    """A budget of parameters needs an adapter that knows what it trains in a layer, and is one beside ranks' own."""
    if not isinstance(cell.selection, Measure) or cell.selection.max_parameters is None:
        return None
    if not cell.adapter.counts_layers:
        return uncounted(f"adapter={cell.adapter.name}")
    own = cell.ranks.parameters if isinstance(cell.ranks, ScoredRanks) else None
    if own is None:
        return None
    return f"ranks.parameters={own}: selection.max_parameters limits these already; use ranks.parameters=null"


@_rule
def layers_are_trained_apart(cell: "Cell") -> str | None:
    """A regime that lets layers rest needs some that share nothing, on one device that knows all of them."""
    adapter, regime = cell.adapter, cell.regime
    if not regime.moves:
        return None
    if not adapter.trains or cell.selection.chooses_none:
        empty = f"adapter={adapter.name}" if not adapter.trains else f"selection={cell.selection.name}"
        return f"regime={regime.name}: {empty} leaves no layer to train; use regime=fixed"
    if not adapter.layers_apart:
        return f"regime={regime.name}: adapter={adapter.name} trains its layers together; use lora, or regime=fixed"
    if cell.trainer.devices > 1:
        return f"regime={regime.name}: expected trainer.devices=1, but got {cell.trainer.devices}; use regime=fixed"
    return None


@_rule
def regime_can_compare_layers(cell: "Cell") -> str | None:
    """A regime that switches adapters off, or compares them, needs some that are all of what changes."""
    adapter, regime = cell.adapter, cell.regime
    if regime.keeps_base and adapter.moves_base:
        return (
            f"regime={regime.name}: adapter={adapter.name} changes the pretrained weights, so that a layer's cannot be "
            "switched off; use lora, or regime=fixed"
        )
    if regime.compares_changes and adapter.moves_biases:
        return (
            f"regime={regime.name}: adapter={adapter.name} changes biases too, so weight changes are not all of it; "
            "use lora, or regime=fixed"
        )
    if regime.compares_changes and cell.ranks.allocates:
        return f"regime={regime.name}: ranks={cell.ranks.name} favours some of the compared layers; use ranks=uniform"
    if regime.reads_weights and adapter.quantised_base:
        return f"regime.relative: adapter={adapter.name} has quantised the weights to compare with; use relative=false"
    return None


@_rule
def merging_needs_weight_changes(cell: "Cell") -> str | None:
    """Merging is over dense changes of weight matrices of one pretrained model."""
    if not cell.merging.named_datasets:
        return None
    if cell.adapter.quantised_base:
        return f"merging: adapter={cell.adapter.name} is trained on an nf4 base of its own; use adapter=lora"
    if cell.adapter.moves_biases:
        return f"merging: adapter={cell.adapter.name} changes biases too, which cannot be merged; use adapter=lora"
    if not _trains_modules(cell):
        empty = cell.selection.chooses_none
        reason = f"selection={cell.selection.name}" if empty else f"adapter={cell.adapter.name}"
        return f"merging: {reason} leaves no adapter to merge; use adapter=lora and at least one layer"
    return None


@_rule
def merging_needs_one_base(cell: "Cell") -> str | None:
    """Adapters trained on bases compressed apart do not share a model."""
    if not cell.merging.merges or not (_first(cell, PRUNE, TRAIN) or _first(cell, QUANTISE, TRAIN)):
        return None
    return "order: merging needs adapters of one pretrained model; let train stand before prune and quantise"


@_rule
def merging_needs_named_datasets(cell: "Cell") -> str | None:
    """A source with only one dataset has no others to train adapters on."""
    if not cell.merging.named_datasets or cell.data.named_by is not None:
        return None
    return f"merging.datasets: {cell.data.name} is the only dataset of its source; use another, or give merging.runs"


@_rule
def merging_needs_what_the_task_offers(cell: "Cell") -> str | None:
    """Weights that are searched or learnt need a loss or logits, which not every task has."""
    if cell.merging.asks is None or cell.merging.asks in cell.task.offers:
        return None
    asked = cell.merging.asks.replace("_", " ")
    return (
        f"merging={cell.merging.name}: it finds its weights by the task's {asked}, but task={cell.task.name} has none; "
        "use merging.search=null and a method that learns no weights"
    )


@_rule
def warm_up_needs_steps(cell: "Cell") -> str | None:
    """A warm-up has no more steps than the training."""
    if WARM_UP not in cell.selection.needs or cell.task.epochs > 0:
        return None
    return f"task.epochs: selection={cell.selection.name} looks at a short training, but got 0; use 1 or more"


@_rule
def task_takes_data(cell: "Cell") -> str | None:
    """A task learns from the datasets of its own class of sources."""
    return cell.task.refusal(cell.data)


@_rule
def task_takes_model(cell: "Cell") -> str | None:
    """A task needs vectors that it can use, and one on answers a decoder."""
    return cell.task.model_refusal(cell.model)


@_rule
def dropped_layers_are_not_numbered(cell: "Cell") -> str | None:
    """The numbers of layers shift when layers are dropped, so that a vector would be made of others."""
    if not cell.pruning.structured or not counted_from_first(cell.model.layers):
        return None
    return (
        f"model.layers: pruning={cell.pruning.name} shifts the numbers of layers, but got {cell.model.layers}; use "
        "last, all, or negative numbers, which count from the last layer that is left"
    )


@_rule
def half_weights_stay(cell: "Cell") -> str | None:
    """What is computed of weights and written into them would be rounded once more."""
    changes = cell.pruning.prunes or cell.precision.quantises or cell.merging.merges or cell.adapter.moves_base
    if cell.model.weights == "fp32" or not (changes or cell.adapter.quantised_base):
        return None
    return (
        f"model.weights: {cell.model.weights} stays as it is beside an adapter, but this cell changes the weights; use "
        "model.weights=fp32, or adapter=lora with pruning=none, merging=none and precision=fp32 or bf16"
    )


@_machine_rule
def half_precision_training_needs_gpu(cell: "Cell") -> str | None:
    """Lightning would train in bf16 with no more than a warning."""
    if cell.precision.train != "fp16" or not cell.trainer.on_cpu:
        return None
    return "precision.train: fp16 needs a GPU, but this run is on the CPU; use fp32 or bf16"


@_rule
def attention_dropout_needs_dropout(cell: "Cell") -> str | None:
    """Without dropout the trained layers stay in evaluation mode."""
    if cell.model.attention_dropout == 0 or cell.task.dropout:
        return None
    return "model.attention_dropout: above 0 it needs task.dropout=true, but got task.dropout=false"
