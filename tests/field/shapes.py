"""The shapes of training that the field suite runs, and the public scripts that each is like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ALL = ("plain", "checkpoints", "resumed", "away")
HOOK_ONLY = ("plain", "away")


@dataclass(frozen=True)
class Shape:
    """One script, and what is known beforehand of it: how its runs end, and what may be warned of."""

    name: str
    after: str
    variants: tuple[str, ...] = ALL
    ending: str = "finished"
    endings: Mapping[str, str] = field(default_factory=dict)  # by run, where they differ
    launcher: tuple[str, ...] = ()
    trackers: bool = False
    same_output: bool = True
    saves_last: bool = True
    restarts: int = 0  # how often it is begun anew by a person, which without checkpoints is another run
    own_checkpoints: bool = False  # resumes by files of its own, without our Checkpoints
    alerts: tuple[str, ...] = ()  # titles that are right to raise, as patterns
    warns: tuple[str, ...] = ()  # and what is right to warn of

    def ending_of(self, run: str) -> str:
        return self.endings.get(run, self.ending)


SHAPES = (
    Shape("quickstart", "pytorch tutorials: beginner/basics/quickstart", trackers=True),
    Shape("mnist_basic", "pytorch/examples: mnist"),
    Shape("imagenet", "pytorch/examples: imagenet, one process"),
    Shape("imagenet_spawn", "pytorch/examples: imagenet with --multiprocessing-distributed"),
    Shape(
        "imagenet_torchrun",
        "pytorch/vision references/classification, torchrun",
        launcher=("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
    ),
    Shape("word_language_model", "pytorch/examples: word_language_model"),
    Shape("dcgan", "pytorch/examples: dcgan"),
    Shape("vae", "pytorch/examples: vae"),
    Shape(
        "nanogpt",
        "karpathy/nanoGPT: train.py, its rate set by hand",
        trackers=True,
        warns=("lr is .* as in the checkpoint",),
    ),
    Shape("cleanrl_ppo", "vwxyzjn/cleanrl: ppo.py", trackers=True, variants=("plain", "checkpoints", "away")),
    Shape("kfold", "scikit-learn's KFold around a PyTorch loop, as in Kaggle notebooks", trackers=True),
    Shape("early_stopping", "Bjarten/early-stopping-pytorch", ending="stopped"),
    Shape("early_return", "a fit() that returns at its target, as in fastai's older courses", ending="stopped"),
    Shape("transfer_two_phase", "pytorch tutorials: transfer_learning, head first"),
    Shape("unfreeze_midway", "fastai's unfreeze() and Lightning's BackboneFinetuning, within one loop"),
    Shape("grad_accumulation", "huggingface/transformers: no_trainer examples"),
    Shape("amp", "pytorch tutorials: amp_recipe"),
    Shape("ema_swa", "lucidrains' EMA beside torch.optim.swa_utils"),
    Shape("numpy_rates", "learning rates computed with NumPy, as in NVIDIA's and deepmd-kit's schedules"),
    Shape(
        "optuna_pruned",
        "optuna/optuna-examples: pytorch_simple",
        variants=("plain", "checkpoints", "away"),  # a trial that is complete has no loss to return
        endings={"trial-1": "stopped"},
        saves_last=False,  # it ends by an exception
    ),
    Shape("hydra_like", "facebookresearch/hydra's job folders with nested settings"),
    Shape(
        "notebook",
        "a course's notebook: fail, mend, run the cell again",
        same_output=False,
        variants=("plain", "checkpoints", "away"),
        restarts=1,
    ),
    Shape(
        "notebook_restart",
        "a Colab notebook: stop, run again",
        same_output=False,
        variants=("plain", "checkpoints", "away"),
        warns=("nothing was logged",),
    ),
    Shape("tqdm_auto", "tqdm.auto around epochs and batches, as in most notebooks", same_output=False),
    Shape("enumerate_zip", "enumerate(epochs), len(epochs)"),
    Shape(
        "log_epoch_block",
        "trainers with callbacks: Keras-like fit() calling log_epoch",
        variants=HOOK_ONLY,
        warns=("note", "matrix", "missing"),
    ),
    Shape("digits_workers", "scikit-learn's digits through a DataLoader with workers"),
    Shape("sparse_validation", "time series tutorials: validation every third epoch, ReduceLROnPlateau"),
    Shape("multi_task", "multi-task loss weighting (Kendall et al.), Korean metric names"),
    Shape("failure", "a wrong batch in the third epoch", ending="failed"),
    Shape(
        "exit_code",
        "pytorch/vision references: sys.exit when the loss is not finite",
        ending="failed",
        saves_last=False,
        alerts=(".",),
    ),
    Shape("ctrl_c", "Pytorch-UNet: except KeyboardInterrupt, save, go", ending="interrupted"),
    Shape("two_generators", "augmentation from generators of its own"),
    Shape("lbfgs", "pytorch/examples: time_sequence_prediction"),
    Shape("style_transfer", "pytorch tutorials: neural_style_tutorial"),
    Shape(
        "spawned_workers",
        "a dataset that holds the logger, loaded by spawned processes",
        variants=("plain", "checkpoints", "away"),
    ),
    Shape("asyncio_trainer", "an asynchronous actor-learner loop"),
    Shape("threads_at_once", "optuna's n_jobs=2"),
    Shape("data_parallel", "word2vec with SparseAdam under nn.DataParallel"),
    Shape("spectral_gan", "WGAN-GP with spectral norm"),
    Shape("dqn_episodes", "pytorch tutorials: reinforcement_q_learning"),
    Shape("own_hooks", "libraries with hooks of their own; warnings as errors"),
    Shape("unready_names", "metrics that come late and are no numbers", warns=("f1", "confusion", "comment")),
    Shape("sweep_processes", "a shell loop that starts several trainings at once", warns=("database",)),
    Shape("stateful_loader", "torchdata's StatefulDataLoader with a generator"),
    Shape(
        "busy_neighbour",
        "several trainings on one machine with a slow disk",
        variants=("plain", "checkpoints"),
        warns=("database",),
    ),
    Shape("own_resume", "ultralytics-like last.pt", variants=("plain", "resumed", "away"), own_checkpoints=True),
    Shape("forked_evaluator", "an evaluator in a forked child, alarms as timeouts, atexit of its own"),
    Shape(
        "execv_restart",
        "scripts that begin anew by os.execv against memory leaks",
        variants=("plain", "checkpoints", "away"),
    ),
    Shape(
        "pool_search",
        "a hyper-parameter search by multiprocessing.Pool",
        variants=("plain", "checkpoints", "away"),
        warns=("database",),
    ),
    Shape("federated", "AshwinRJ/Federated-Learning-PyTorch, with distillation"),
    Shape("mae_like", "facebookresearch/mae: main_pretrain.py and util/misc.py"),
    Shape("generator_fit", "adambielski/siamese-triplet, in a fit() that yields", ending="stopped"),
    Shape(
        "vector_envs",
        "vectorised environments without a last update, as in CleanRL and sample-factory",
        ending="stopped",
    ),
    Shape("curriculum_buckets", "fairseq's and torchtext's buckets, in a curriculum"),
    Shape("nested_folds", "scikit-learn's cross_val_score with a training a fold"),
    Shape("compiled_bf16", "torch.compile, AMP and SWA together, as in timm"),
    Shape("lazy_odd_state", "graph networks with lazy layers and odd buffers"),
    Shape("forward_forward", "pytorch/examples: mnist_forward_forward"),
    Shape(
        "hogwild",
        "pytorch/examples: mnist_hogwild",
        variants=("plain", "checkpoints", "away"),  # who is left after one dies waits for its turn for ever
        warns=("database",),
    ),
    Shape("lottery_ticket", "rahulvigneswaran/Lottery-Ticket-Hypothesis-in-Pytorch"),
    Shape(
        "architecture_search",
        "quark0/darts: train_search.py",
        variants=("plain", "checkpoints", "resumed"),  # its log takes warnings to standard output, as ours of Slack
    ),
    Shape("center_loss", "KaiyangZhou/pytorch-center-loss", trackers=True),
)

BY_NAME = {shape.name: shape for shape in SHAPES}

# What CI runs of it: each kind of training and each variant is in it; `make field` runs all.
IN_CI = frozenset(
    {
        ("quickstart", "resumed"),
        ("imagenet", "checkpoints"),
        ("nanogpt", "resumed"),
        ("kfold", "checkpoints"),
        ("early_stopping", "checkpoints"),
        ("unfreeze_midway", "resumed"),
        ("numpy_rates", "resumed"),
        ("ema_swa", "resumed"),
        ("optuna_pruned", "plain"),
        ("tqdm_auto", "away"),
        ("unready_names", "plain"),
        ("own_hooks", "checkpoints"),
    }
)
