"""Find the layers that matter for a task, adapt them, compress or merge the outcome, and judge it.

    python train.py experiment=demo                          the embedded review, offline
    python train.py data=table data.path=FILE.csv            your own records
    python train.py model=minilm data=cohen data.review=NSAIDS selection=cka selection.n=3
    python train.py model=minilm precision=int8 pruning=wanda pruning.sparsity=0.3
    python train.py model=minilm data=cohen merging=hybrid 'merging.datasets=[NSAIDS,Estrogens]'
    python train.py task=causal_lm data=titles model=smollm2 selection=cka selection.n=8
    python train.py -m experiment=demo seed=0,1,2 selection=cka,last,random

Options are given as name=value. -m runs every combination of comma-separated values.
"""

from layersel import cli

if __name__ == "__main__":
    cli.run("train", "layersel.cell.run.train", options="layersel.cell.options.Cell", about=str(__doc__))
